import { beforeAll, describe, expect, it, vi } from 'vitest';
import {
  type Candidate,
  type FoundMask,
  grid,
  nonMaximumSuppression,
} from '../../lib/predictor/everything.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import type { EncodedImage } from '../../lib/predictor/image.js';
import type { Mask } from '../../lib/predictor/mask.js';
import { stabilityScore } from '../../lib/predictor/stability.js';
import { errorOf } from '../support/errors.js';
import { device } from '../support/run.js';
import { contents, picture, randomModel } from './support/models.js';

const [HEIGHT, WIDTH] = [90, 150];
const SURE_OF_NOTHING = { minScore: 0, minStability: 0 };

/** The part of a mask's logits that the picture covers. */
function covered({ logits }: Mask, { input, resized }: EncodedImage) {
  const { data, width, height } = logits;
  const rows = Math.ceil((resized.height * height) / input.height);
  const columns = Math.ceil((resized.width * width) / input.width);
  return {
    columns,
    data: data.filter((_, i) => i % width < columns && Math.floor(i / width) < rows),
  };
}

function boxOf(mask: Mask, image: EncodedImage): Candidate['box'] {
  const { data, columns } = covered(mask, image);
  const inside = [...data.keys()].filter((i) => data[i]! > 0);
  const [xs, ys] = [inside.map((i) => i % columns), inside.map((i) => Math.floor(i / columns))];
  return [Math.min(...xs), Math.min(...ys), Math.max(...xs) + 1, Math.max(...ys) + 1];
}

describe.each(['hrsam-tiny', 'sam-tiny'])('everything, %s', (preset) => {
  let model: HRSAM;
  let image: EncodedImage;
  beforeAll(async () => {
    model = await randomModel(preset);
    image = await model.encode(picture(HEIGHT, WIDTH));
    return () => image.dispose();
  });

  it.each([
    ['all', { ...SURE_OF_NOTHING, maxOverlap: 1 }],
    ['what does not overlap', { ...SURE_OF_NOTHING, maxOverlap: 0.5 }],
  ])('gives what clicking on the grid gives: %s', async (_, options) => {
    const found = await image.everything({ pointsPerSide: 4, ...options });
    const candidates: (Candidate & { mask: Mask })[] = [];
    for (const point of grid(4, image.original)) {
      for (const mask of await image.segment({ points: [point], multimask: true })) {
        const { data } = covered(mask, image);
        const { index, score } = mask;
        if (score < 0 || data.every((logit) => logit <= 0)) continue;
        const stability = stabilityScore(data);
        candidates.push({ point, index, score, stability, box: boxOf(mask, image), mask });
      }
    }
    const expected = nonMaximumSuppression(candidates, options.maxOverlap) as typeof candidates;
    expect(expected.length).toBeGreaterThan(0);
    expect(found.map(({ mask, ...rest }) => ({ ...rest, ...contents(mask) }))).toEqual(
      expected.map(({ mask, point, stability }) => ({
        point,
        stability: expect.closeTo(stability, 6),
        ...contents(mask),
      })),
    );
  });

  it('keeps the logits of what it returns alone', async () => {
    const copies = vi.spyOn(Float32Array.prototype, 'slice');
    try {
      const found = await image.everything({ pointsPerSide: 4, ...SURE_OF_NOTHING, maxOverlap: 0.5 });
      const { length } = found[0]!.mask.logits.data;
      expect(copies.mock.results.filter(({ value }) => value.length === length)).toHaveLength(found.length);
    } finally {
      copies.mockRestore();
    }
  });

  it('hands the best over run by run, before later ones are there', async () => {
    const options = { pointsPerSide: 10, ...SURE_OF_NOTHING, maxOverlap: 1 };
    const all = await image.everything(options);
    const copies = vi.spyOn(Float32Array.prototype, 'slice');
    try {
      const { length } = all[0]!.mask.logits.data;
      const made = () => copies.mock.results.filter(({ value }) => value.length === length).length;
      let first: number | undefined;
      const read = async ({ mask }: FoundMask) => {
        first ??= made();
        return contents(mask);
      };
      const best = all.slice(0, -1).map(({ mask }) => contents(mask));
      expect(await image.eachFound(options, best.length, read)).toEqual(best);
      expect(first).toBeLessThan(best.length);
    } finally {
      copies.mockRestore();
    }
  });

  it('reports how far it is, and nothing where the model is sure of nothing', async () => {
    const steps: [number, number][] = [];
    const found = await image.everything({
      pointsPerSide: 9,
      minStability: 1,
      minScore: 1,
      onProgress: (...step) => steps.push(step),
    });
    expect(found).toEqual([]);
    expect(steps.at(-1)).toEqual([81, 81]);
    expect(steps.length).toBeGreaterThan(1);
    expect(steps.every(([done], i) => done > (steps[i - 1]?.[0] ?? 0))).toBe(true);
  });

  it.each([
    { pointPerSide: 8 } as object,
    { pointsPerSide: 0 },
    { pointsPerSide: 2.5 },
    { pointsPerSide: 257 },
    { minScore: -0.1 },
    { minScore: Number.NaN },
    { minStability: 1.5 },
    { maxOverlap: '0.7' as unknown as number },
  ])('refuses %j', async (options) => {
    const error = await errorOf(() => image.everything(options));
    expect(error.code).toBe('ERR_ARGUMENT');
    expect(error.message).toContain(Object.keys(options)[0]);
  });

  it('stops where it is told to', async () => {
    const controller = new AbortController();
    const onProgress = () => controller.abort();
    const error = await errorOf(() =>
      image.everything({ pointsPerSide: 20, signal: controller.signal, onProgress }),
    );
    expect(error.code).toBe('ERR_ABORTED');
  });

  it('refuses an image that was disposed', async () => {
    const other = await model.encode(picture(20, 20));
    other.dispose();
    expect((await errorOf(() => other.everything())).code).toBe('ERR_DISPOSED');
  });
});

describe('bounds', () => {
  it('drops what is below them', async () => {
    using model = await HRSAM.load(undefined, { device });
    using image = await model.encode(picture(HEIGHT, WIDTH), { size: 256 });
    const open = { pointsPerSide: 4, ...SURE_OF_NOTHING, maxOverlap: 1 };
    const all = await image.everything(open);
    const [better] = all.slice(Math.floor(all.length / 2));
    const minScore = better!.mask.score;
    const minStability = all.map(({ stability }) => stability).sort()[Math.floor(all.length / 2)]!;
    const scored = all.filter(({ mask }) => mask.score >= minScore);
    const stable = all.filter(({ stability }) => stability >= minStability);
    expect(scored.length).toBeLessThan(all.length);
    expect(stable.length).toBeLessThan(all.length);
    expect(await image.everything({ ...open, minScore })).toEqual(scored);
    expect(await image.everything({ ...open, minStability })).toEqual(stable);
  });
});

describe('grid', () => {
  it('has a click in the middle of every part', () => {
    expect(grid(1, { width: 8, height: 4 })).toEqual([[4, 2]]);
    expect(grid(2, { width: 8, height: 4 })).toEqual([
      [2, 1],
      [6, 1],
      [2, 3],
      [6, 3],
    ]);
  });
});

describe('nonMaximumSuppression', () => {
  const candidate = (score: number, box: Candidate['box']): Candidate => ({
    point: [0, 0],
    index: 1,
    score,
    stability: 1,
    box,
  });
  const [good, overlapping, apart] = [
    candidate(0.9, [0, 0, 10, 10]),
    candidate(0.8, [0, 0, 10, 8]), // IoU 0.8
    candidate(0.7, [10, 0, 20, 10]),
  ] as const;

  it('keeps the better one of two, best first', () => {
    expect(nonMaximumSuppression([apart, overlapping, good], 0.7)).toEqual([good, apart]);
    expect(nonMaximumSuppression([apart, overlapping, good], 0.8)).toEqual([good, overlapping, apart]);
  });

  it('does not let one that was dropped drop others', () => {
    const third = candidate(0.5, [0, 0, 10, 6]); // 0.75 of the dropped one, 0.6 of the one that stays
    expect(nonMaximumSuppression([good, overlapping, third], 0.7)).toEqual([good, third]);
  });

  it('keeps the earlier one of equals', () => {
    const twin = { ...good, index: 2 };
    expect(nonMaximumSuppression([good, twin], 0.5)).toEqual([good]);
  });
});
