import { monitorEventLoopDelay } from 'node:perf_hooks';
import { totalFlops } from '../../graph/cost.js';
import type { Pixels } from '../../image/pixels.js';
import { computeType, type Precision } from '../../model/layers.js';
import { encoderGraph } from '../../predictor/flops.js';
import { HRSAM } from '../../predictor/hrsam.js';
import { elementCount } from '../../runtime/dtype.js';
import { Owned } from '../../runtime/owned.js';
import { fillTensor } from '../../weights/random.js';
import { type BenchRow, measure, peakMemory } from './measure.js';

export interface EncoderPart {
  /** What the table calls the model. */
  name: string;
  weights: string;
  config?: unknown;
  device: string;
  dtype: Precision;
  threads?: number;
  size: number;
  batch: number;
}

/** Resolution of the event loop's monitor, ms: its own tick is part of what it reports. */
const RESOLUTION_MS = 1;

/** One encoder at one size, the event loop meanwhile, and a click on what it made. */
export async function encoderRows(part: EncoderPart): Promise<BenchRow[]> {
  const { name, size, batch, dtype, threads, config } = part;
  using model = await HRSAM.load(part.weights, { device: part.device, dtype, threads, config });
  const { device, network } = model;
  const label = `${size} x ${size}`;
  using owned = new Owned();
  const images = Array.from({ length: batch }, (_, i) => {
    const shape = [1, 3, size, size];
    const values = fillTensor(`image${i}`, { offset: 0, scale: 2 }, new Float32Array(elementCount(shape)));
    return owned.add(device.tensor(shape, 'f32', values));
  });
  const delays = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  const row = await measure({
    what: `${name} encoder`,
    device,
    dtype,
    size: label,
    batch,
    flops: totalFlops(encoderGraph(model.config, [size, size], { batch, dtype: computeType(dtype) })),
    async run() {
      delays.enable();
      const embeddings = await network.encode(images);
      delays.disable();
      for (const embedding of embeddings) embedding.dispose();
    },
  });
  const rows: BenchRow[] = [{ ...row, memory: peakMemory(device) }];
  const shared = { device: device.name, dtype, size: label, batch: 1 };
  rows.push({
    ...shared,
    what: `${name} event loop, p99`,
    median: delays.percentile(99) / 1e6,
    spread: 0,
    runs: delays.count,
    note: `delay while encoding, ${RESOLUTION_MS} ms of it the monitor's`,
  });
  rows.push(await clickRow(model, part, label));
  // Minutes on a processor.
  if (device.kind === 'cuda' && batch === 1) rows.push(await everythingRow(model, part, label));
  return rows;
}

/** 1024 clicks and what is kept of their masks. */
async function everythingRow(
  model: HRSAM,
  { name, size, dtype }: EncoderPart,
  label: string,
): Promise<BenchRow> {
  using image = await model.encode(noise(size), { size });
  const row = await measure({
    what: `${name} everything`,
    device: model.device,
    dtype,
    size: label,
    batch: 1,
    async run() {
      // An untrained model is sure of nothing.
      await image.everything({ minScore: 0, minStability: 0 });
    },
  });
  return { ...row, memory: peakMemory(model.device) };
}

function noise(size: number): Pixels {
  const data = Uint8Array.from({ length: size * size * 3 }, (_, i) => (i * 7919) >> 4);
  return { data, width: size, height: size, channels: 3 };
}

/** From a click to the mask's run lengths, for a picture of the input's size. */
async function clickRow(model: HRSAM, { name, size, dtype }: EncoderPart, label: string): Promise<BenchRow> {
  using image = await model.encode(noise(size), { size });
  return await measure({
    what: `${name} click to mask`,
    device: model.device,
    dtype,
    size: label,
    batch: 1,
    async run() {
      await image.segment({ points: [[size / 2, size / 3]] });
    },
  });
}
