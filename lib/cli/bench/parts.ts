import { Device } from '../../runtime/device.js';
import { type EncoderPart, encoderRows } from './encoder.js';
import type { BenchRow } from './measure.js';
import { attentionRows, callRows, gemmRows, memoryRows, scanRows } from './ops.js';
import { type TrainPart, trainRows } from './train.js';

export interface OpsPart {
  group: keyof typeof OPS;
  device: string;
  dtype: 'f32' | 'bf16';
  threads?: number;
}

/** What one process of the bench measures. */
export type Part = OpsPart | (EncoderPart & { group: 'encoder' }) | (TrainPart & { group: 'train' });

const OPS = {
  gemm: gemmRows,
  attention: attentionRows,
  scan: scanRows,
  memory: memoryRows,
  call: callRows,
} as const;

async function rowsOf(part: Part): Promise<BenchRow[]> {
  if (part.group === 'encoder') return encoderRows(part);
  if (part.group === 'train') return trainRows(part);
  const device = Device.open(part.device);
  if (part.threads !== undefined) await device.setThreads(part.threads);
  return OPS[part.group](device, part.dtype);
}

/** Measures one part and prints its rows as one line of JSON. @param json a `Part` made by this version's `runBench` */
export async function runPart(json: string): Promise<void> {
  const rows = await rowsOf(JSON.parse(json) as Part);
  process.stdout.write(`${JSON.stringify(rows)}\n`);
}
