import { beforeAll, describe, expect, it } from 'vitest';
import { boundaryIou, clicksUntil, maskIou, mean, numberOfClicks } from '../../lib/eval/metrics.js';
import { combine, difference, overlap, union } from '../../lib/image/overlap.js';
import { decodeRle, encodeRle, type Rle } from '../../lib/image/rle.js';
import type { Click } from '../../lib/predictor/session.js';
import { errorRegions, SimulatedUser } from '../../lib/predictor/simulated_user.js';
import { codeOf } from '../support/errors.js';
import { describeShared, HostTensors, hasShared, readJson } from '../support/reference.js';

interface ClickCase {
  name: string;
  size: [number, number];
  sfc_inner_k: number;
  previous_clicks: [number, number, 'positive' | 'negative'][];
  mode: 'positive' | 'negative' | null;
  candidates: number;
  max_dist_false_negative: number;
  max_dist_false_positive: number;
  iou: number | null;
}

const reference = readJson('clicks/clicks.json');

/** A mask of rows; the published code takes only the value 1 for the object. */
const fromRows = (values: ArrayLike<number>, [height, width]: readonly [number, number]): Rle =>
  encodeRle(
    Uint8Array.from(values, (value) => Number(value === 1)),
    height,
    width,
  );

const clickAt = ([y, x, kind]: [number, number, string]): Click => ({
  x,
  y,
  label: kind === 'positive' ? 1 : 0,
});

describe('the simulated user follows the published rule', () => {
  let masks: HostTensors;
  beforeAll(async () => {
    masks = await HostTensors.load('clicks/masks.safetensors');
  });

  it.each(reference.clicks as ClickCase[])('$name', async (each) => {
    const prediction = fromRows(masks.get(`${each.name}/pre`).data, each.size);
    const object = fromRows(masks.get(`${each.name}/seg`).data, each.size);
    const clicks = each.previous_clicks.map(clickAt);
    const regions = await errorRegions(prediction, object, clicks, each.sfc_inner_k);
    const label = each.mode === null ? undefined : each.mode === 'positive' ? 1 : 0;
    expect(regions.label).toBe(label);
    expect(regions.deepestMissing).toBe(each.max_dist_false_negative);
    expect(regions.deepestExtra).toBe(each.max_dist_false_positive);
    const wanted = masks.get(`${each.name}/candidates`).data;
    const positions = Array.from(
      { length: wanted.length / 2 },
      (_, i) => wanted[2 * i]! * each.size[1] + wanted[2 * i + 1]!,
    );
    expect([...regions.candidates]).toEqual(positions);
    expect(positions).toHaveLength(each.candidates);
    if (each.iou !== null) expect(maskIou(prediction, object)).toBeCloseTo(each.iou, 12);
  });

  it('covers every kind of answer', () => {
    const modes = new Set((reference.clicks as ClickCase[]).map(({ mode }) => mode));
    expect(modes).toEqual(new Set(['positive', 'negative', null]));
  });
});

describe('a user', () => {
  const size = [30, 50] as const;
  const object = fromRows(
    Array.from({ length: 1500 }, (_, i) => Number(i % 50 > 5 && i % 50 < 40)),
    size,
  );
  const nothing: Rle = { size: [30, 50], counts: [1500] };

  it('takes the first candidate without a seed', async () => {
    const click = await new SimulatedUser(object).next(nothing, []);
    const { candidates } = await errorRegions(nothing, object, []);
    expect(candidates.length).toBeGreaterThan(1);
    expect(click).toEqual({ x: candidates[0]! % 50, y: Math.floor(candidates[0]! / 50), label: 1 });
  });

  it('draws the same clicks from the same seed, others from another, all of them candidates', async () => {
    const draw = async (seed: number) => {
      const user = new SimulatedUser(object, { seed, innerK: 2 });
      const clicks: Click[] = [];
      for (let i = 0; i < 6; i++) clicks.push((await user.next(nothing, clicks))!);
      return clicks;
    };
    const first = await draw(1);
    expect(await draw(1)).toEqual(first);
    expect(await draw(2)).not.toEqual(first);
    const { candidates } = await errorRegions(nothing, object, [], 2);
    expect([...candidates]).toContain(first[0]!.y * 50 + first[0]!.x);
    expect(new Set(first.map(({ x, y }) => y * 50 + x)).size).toBe(6);
  });

  it('stops when nothing is wrong', async () => {
    expect(await new SimulatedUser(object).next(object, [])).toBeUndefined();
  });

  it('refuses masks of different sizes, an inner k below 1, run lengths that do not add up', async () => {
    const other: Rle = { size: [50, 30], counts: [1500] };
    expect(await codeOf(() => errorRegions(other, object, []))).toBe('ERR_SHAPE');
    expect(await codeOf(() => errorRegions(nothing, object, [], 0.5))).toBe('ERR_ARGUMENT');
    const short: Rle = { size: [30, 50], counts: [1499] };
    expect(await codeOf(() => errorRegions(short, object, []))).toBe('ERR_SHAPE');
    const empty: Rle = { size: [0, 50], counts: [0] };
    expect(await codeOf(() => errorRegions(empty, empty, []))).toBe('ERR_SHAPE');
  });
});

describe('metrics', () => {
  it.each(reference.iou as { name: string; prediction: number[]; label: number[]; iou: number | string }[])(
    'IoU: $name',
    ({ prediction, label, iou }) => {
      const size = [1, label.length] as const;
      // The published function fails on the last case; there is an object and nothing of it was found.
      const wanted = typeof iou === 'number' ? iou : 0;
      expect(maskIou(fromRows(prediction, size), fromRows(label, size))).toBe(wanted);
    },
  );

  it('NoC and IoU@k', () => {
    const { iou, noc, click_mean_iou } = reference.noc as {
      iou: number[][];
      noc: Record<string, number>;
      click_mean_iou: Record<string, number>;
    };
    for (const [threshold, wanted] of Object.entries(noc))
      expect(numberOfClicks(iou, Number(threshold) / 100).mean).toBeCloseTo(wanted, 5);
    for (const [count, wanted] of Object.entries(click_mean_iou))
      expect(mean(iou.map((row) => row[Number(count) - 1]!))).toBeCloseTo(wanted, 12);
    expect(numberOfClicks(iou, 0.95).failures).toBe(iou.filter((row) => Math.max(...row) < 0.95).length);
  });

  it('a threshold counts from the click that reaches it, and stays missed otherwise', () => {
    expect(clicksUntil([0.5, 0.9, 0.7], 0.9)).toBe(2);
    expect(clicksUntil([0.5, 0.89, 0.7], 0.9)).toBeUndefined();
    expect(numberOfClicks([[0.1, 0.2, 0.95]], 0.9)).toEqual({ mean: 3, failures: 0 });
    expect(numberOfClicks([[0.1, 0.2, 0.3]], 0.9)).toEqual({ mean: 3, failures: 1 });
  });

  it('set operations on run lengths equal those on pixels', () => {
    const random = (seed: number) =>
      Uint8Array.from({ length: 12 * 9 }, (_, i) => Number(((i + seed) * 2654435761) % 7 < 3));
    for (const seed of [1, 5, 9]) {
      const [a, b] = [random(seed), random(seed * 31)];
      const [runsA, runsB] = [encodeRle(a, 12, 9), encodeRle(b, 12, 9)];
      const pixels = (keep: (x: number, y: number) => number) => a.map((value, i) => keep(value, b[i]!));
      expect(decodeRle(difference(runsA, runsB))).toEqual(pixels((x, y) => x & ~y));
      expect(decodeRle(union(runsA, runsB))).toEqual(pixels((x, y) => x | y));
      expect(combine(runsA, runsB, (x, y) => x !== y)).toEqual(
        encodeRle(
          pixels((x, y) => x ^ y),
          12,
          9,
        ),
      );
      const count = (keep: (x: number, y: number) => number) =>
        pixels(keep).reduce((sum, value) => sum + value, 0);
      expect(overlap(runsA, runsB)).toEqual({
        intersection: count((x, y) => x & y),
        union: count((x, y) => x | y),
      });
    }
  });

  it('boundary IoU looks at 2 % of the diagonal, halves rounded to even', async () => {
    // A diagonal of 125: 2.5 pixels, rounded to 2.
    const [height, width] = [75, 100];
    const box = (x0: number, y0: number, x1: number, y1: number) =>
      encodeRle(
        Uint8Array.from({ length: height * width }, (_, i) => {
          const [x, y] = [i % width, Math.floor(i / width)];
          return Number(x >= x0 && x < x1 && y >= y0 && y < y1);
        }),
        height,
        width,
      );
    const ring = (side: number) => side * side - (side - 4) * (side - 4);
    const outer = box(20, 10, 60, 50);
    expect(await boundaryIou(outer, outer)).toBe(1);
    // Inside by 2: the rings touch and do not meet. Inside by 1: they share a ring of width 1.
    expect(await boundaryIou(box(22, 12, 58, 48), outer)).toBe(0);
    const shared = 38 * 38 - 36 * 36;
    const wanted = shared / (ring(40) + ring(38) - shared);
    expect(await boundaryIou(box(21, 11, 59, 49), outer)).toBeCloseTo(wanted, 12);
    expect(await boundaryIou({ size: [height, width], counts: [height * width] }, outer)).toBe(0);
  });
});

interface Recording {
  name: string;
  image_size: [number, number];
  clicks_yx: [number, number, 'positive' | 'negative'][];
  iou: number[];
}

describeShared('the recorded evaluations: each click follows from the mask before it', () => {
  const recordings: Recording[] = hasShared ? readJson('clicks/interactive.json') : [];

  it.each(recordings)('$name', async ({ name, image_size: size, clicks_yx, iou }) => {
    const tensors = await HostTensors.load(`clicks/interactive-${name}.safetensors`);
    const pixels = size[0] * size[1];
    const object = fromRows(tensors.get('gt').data, size);
    const user = new SimulatedUser(object);
    const clicks: Click[] = [];
    let mask: Rle = { size, counts: [pixels] };
    for (const [i, recorded] of clicks_yx.entries()) {
      const click = await user.next(mask, clicks);
      expect(click).toEqual(clickAt(recorded));
      clicks.push(click!);
      mask = fromRows(tensors.get('masks').data.subarray(i * pixels, (i + 1) * pixels), size);
      expect(maskIou(mask, object)).toBeCloseTo(iou[i]!, 12);
    }
  });
});
