import { monitorEventLoopDelay } from 'node:perf_hooks';
import { totalFlops } from '../../graph/cost.js';
import type { Pixels } from '../../image/pixels.js';
import { computeType, type Precision } from '../../model/layers.js';
import { encoderGraph } from '../../predictor/flops.js';
import { HRSAM } from '../../predictor/hrsam.js';
import type { Network } from '../../predictor/network.js';
import { elementCount } from '../../runtime/dtype.js';
import { Owned } from '../../runtime/owned.js';
import type { Tensor } from '../../runtime/tensor.js';
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

/**
 * One encoder at one size, the event loop meanwhile, and a click on what it made; where the model answers coarse to fine at
 * that size, pictures and clicks without and with it.
 */
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
  if (model.coarseSize(size) === undefined) rows.push(await clickRow(model, part, label, false));
  else {
    const times = (row: BenchRow, { median }: BenchRow) => ({
      ...row,
      note: `${(row.median / median).toFixed(2)} x without`,
    });
    for (const measured of [pictureRow, clickRow]) {
      const without = await measured(model, part, label, false);
      rows.push(without, times(await measured(model, part, label, true), without));
    }
  }
  if (device.kind === 'cuda' && batch === 1) {
    rows.push(await keptRow(network, images, part, label));
    // Minutes on a processor.
    rows.push(await everythingRow(model, part, label));
  }
  return rows;
}

/** Embeddings that are kept at a time: more than a program has recordings. */
const KEPT = 16;

/** An encoder whose embeddings are kept, as a server's: each of them lies elsewhere. */
async function keptRow(
  network: Network,
  images: readonly Tensor[],
  { name, dtype }: EncoderPart,
  label: string,
): Promise<BenchRow> {
  const kept: Tensor[] = [];
  try {
    return await measure({
      what: `${name} encoder, embeddings kept`,
      device: network.device,
      dtype,
      size: label,
      batch: images.length,
      async run() {
        kept.push(...(await network.encode(images)));
        if (kept.length > KEPT) kept.shift()!.dispose();
      },
    });
  } finally {
    for (const embedding of kept) embedding.dispose();
  }
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

const passes = (coarseToFine: boolean): string => (coarseToFine ? ', coarse to fine' : '');

/** From pixels of the input's size to what is prompted. */
async function pictureRow(
  model: HRSAM,
  { name, size, dtype }: EncoderPart,
  label: string,
  coarseToFine: boolean,
): Promise<BenchRow> {
  const pixels = noise(size);
  return await measure({
    what: `${name} picture${passes(coarseToFine)}`,
    device: model.device,
    dtype,
    size: label,
    batch: 1,
    async run() {
      (await model.encode(pixels, { size, coarseToFine })).dispose();
    },
  });
}

/** From a click to the mask's run lengths, for a picture of the input's size. */
async function clickRow(
  model: HRSAM,
  { name, size, dtype }: EncoderPart,
  label: string,
  coarseToFine: boolean,
): Promise<BenchRow> {
  using image = await model.encode(noise(size), { size, coarseToFine });
  return await measure({
    what: `${name} click to mask${passes(coarseToFine)}`,
    device: model.device,
    dtype,
    size: label,
    batch: 1,
    async run() {
      await image.segment({ points: [[size / 2, size / 3]] });
    },
  });
}
