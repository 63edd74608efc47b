import { readFileSync } from 'node:fs';
import type { Device } from '../../runtime/device.js';
import { throwIfInterrupted } from '../interrupt.js';

/** One line of the table. */
export interface BenchRow {
  what: string;
  device: string;
  dtype: 'f32' | 'bf16';
  /** Of the operands or the image. */
  size: string;
  batch: number;
  /** Milliseconds. */
  median: number;
  /** (max − min) / median of the runs. */
  spread: number;
  runs: number;
  /** Absent where FLOPs mean nothing. */
  gflops?: number;
  /** The machine's ceiling around these runs, GFLOP/s. */
  peak?: number;
  /** Of the peak, 0 … 1. */
  share?: number;
  /** Bytes that the row's process had resident at most, where that is of interest. */
  memory?: number;
  note?: string;
}

export interface Subject extends Pick<BenchRow, 'what' | 'dtype' | 'size' | 'batch' | 'note'> {
  device: Device;
  /** Floating-point operations of a run. */
  flops?: number;
  run(): Promise<void>;
}

/** Short work is repeated for this long, long work at least three times. */
const MIN_MS = 400;
const MIN_RUNS = 3;
const MAX_RUNS = 200;
const LONG_MS = 1000;

const median = (values: readonly number[]): number => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2;
};

/** How often a subject is run between two measurements of the peak: those take longer than small ops. */
const perBlock = (ms: number): number => Math.max(1, Math.min(50, Math.floor(100 / Math.max(ms, 0.1))));

/** Warms up, then times runs, with the peak measured before and after every few of them. */
export async function measure(subject: Subject): Promise<BenchRow> {
  const { what, dtype, size, batch, note, device, flops } = subject;
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
  const ceiling = () => (flops === undefined ? Promise.resolve(0) : device.measurePeak(dtype));
  const peaks = [await ceiling()];
  for (let total = 0; times.length < MIN_RUNS || (total < MIN_MS && times.length < MAX_RUNS); ) {
    const these = [];
    for (let i = 0; i < block; i++) these.push(await timed());
    peaks.push(await ceiling());
    const around = (peaks.at(-1)! + peaks.at(-2)!) / 2;
    for (const ms of these) {
      total += ms;
      times.push(ms);
      if (flops !== undefined) shares.push(flops / ms / 1e6 / around);
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
    note,
  };
  return flops === undefined
    ? row
    : { ...row, gflops: flops / typical / 1e6, peak: median(peaks), share: median(shares) };
}

/** The most memory that this process ever had resident, in bytes. */
export function peakMemory(): number {
  try {
    const match = /^VmHWM:\s+(\d+) kB$/m.exec(readFileSync('/proc/self/status', 'utf8'));
    if (match) return Number(match[1]) * 1024;
  } catch {
    // Not Linux: Node's own count, in kilobytes, serves.
  }
  return process.resourceUsage().maxRSS * 1024;
}
