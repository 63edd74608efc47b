import { readFileSync } from 'node:fs';
import { computeType, type Precision } from '../../model/layers.js';
import type { Device } from '../../runtime/device.js';
import { throwIfInterrupted } from '../interrupt.js';

/** One line of the table. */
export interface BenchRow {
  what: string;
  device: string;
  dtype: Precision;
  /** Of the operands or the image. */
  size: string;
  batch: number;
  /** Milliseconds. */
  median: number;
  /** (max − min) / median of the runs. */
  spread: number;
  runs: number;
  /** Percentiles, milliseconds: where there were runs enough for them. */
  p90?: number;
  p99?: number;
  /** Absent where FLOPs mean nothing. */
  gflops?: number;
  /** The machine's ceiling around these runs, GFLOP/s. */
  peak?: number;
  /** GB/s, every operand and result counted once: of what waits for memory. */
  gbps?: number;
  /** What the device's memory was measured to move, GB/s. */
  bandwidth?: number;
  /** Of the peak or, where there is no `gflops`, of the bandwidth, 0 … 1. */
  share?: number;
  /** The most bytes that the row's process had, where that is of interest: resident, or on the GPU. */
  memory?: number;
  note?: string;
}

export interface Subject extends Pick<BenchRow, 'what' | 'dtype' | 'size' | 'batch' | 'note'> {
  device: Device;
  /** Floating-point operations. */
  flops?: number;
  /** Bytes moved, and the bandwidth to compare with, GB/s. */
  traffic?: { bytes: number; bandwidth: number };
  /** How often a run does the work; the row is about doing it once. */
  copies?: number;
  maxRuns?: number;
  run(): Promise<void>;
}

/** Short work is repeated for this long, long work at least three times, on a GPU ten. */
const MIN_MS = 400;
const MIN_RUNS = { cpu: 3, cuda: 10 };
const MAX_RUNS = 200;
const LONG_MS = 1000;
/** From here on a row has percentiles: the 99th of fewer runs is the maximum. */
const PERCENTILE_RUNS = 100;

const ascending = (values: readonly number[]): number[] => [...values].sort((a, b) => a - b);

const median = (values: readonly number[]): number => {
  const sorted = ascending(values);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

function percentiles(values: readonly number[]): Pick<BenchRow, 'p90' | 'p99'> {
  if (values.length < PERCENTILE_RUNS) return {};
  const sorted = ascending(values);
  const at = (percent: number) => sorted[Math.ceil((percent / 100) * sorted.length) - 1]!;
  return { p90: at(90), p99: at(99) };
}

/** How often a subject is run between two measurements of the peak: those take longer than small ops. */
const perBlock = (ms: number): number => Math.max(1, Math.min(50, Math.floor(100 / Math.max(ms, 0.1))));

/** Warms up, then times runs, with the peak measured before and after every few of them where FLOPs matter. */
export async function measure(subject: Subject): Promise<BenchRow> {
  const { what, dtype, size, batch, note, device, flops, traffic, copies = 1, maxRuns = MAX_RUNS } = subject;
  const timed = async (): Promise<number> => {
    throwIfInterrupted();
    const begin = performance.now();
    await subject.run();
    return performance.now() - begin;
  };
  // The first run may compile; how long a warm one takes matters only for short work.
  const first = await timed();
  const block = perBlock(first < LONG_MS ? await timed() : first);
  const times: number[] = [];
  const shares: number[] = [];
  const ceiling = () => (flops === undefined ? Promise.resolve(0) : device.measurePeak(computeType(dtype)));
  const peaks = [await ceiling()];
  for (let total = 0; times.length < MIN_RUNS[device.kind] || (total < MIN_MS && times.length < maxRuns); ) {
    const these = [];
    for (let i = 0; i < block; i++) these.push(await timed());
    peaks.push(await ceiling());
    const around = (peaks.at(-1)! + peaks.at(-2)!) / 2;
    for (const ms of these) {
      total += ms;
      times.push(ms / copies);
      if (flops !== undefined) shares.push((flops * copies) / ms / 1e6 / around);
    }
  }
  const typical = median(times);
  const row: BenchRow = {
    what,
    device: device.name,
    dtype,
    size,
    batch,
    median: typical,
    spread: (Math.max(...times) - Math.min(...times)) / typical,
    runs: times.length,
    ...percentiles(times),
    note,
  };
  if (flops !== undefined)
    return { ...row, gflops: flops / typical / 1e6, peak: median(peaks), share: median(shares) };
  if (!traffic) return row;
  const gbps = traffic.bytes / typical / 1e6;
  return { ...row, gbps, bandwidth: traffic.bandwidth, share: gbps / traffic.bandwidth };
}

/** The most memory that this process ever had, in bytes: on a GPU its own, else resident. */
export function peakMemory(device: Device): number {
  if (device.kind === 'cuda') return device.memory().peak;
  try {
    const match = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    if (match) return Number(match[1]) * 1024;
  } catch {
    // Not Linux: Node's own count, in kilobytes, serves.
  }
  return process.resourceUsage().maxRSS * 1024;
}
