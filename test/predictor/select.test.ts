import { describe, expect, it } from 'vitest';
import { checkMultimask, chooseMasks, indexOfLargest, selectAsOnnx } from '../../lib/predictor/select.js';
import { stabilityScore } from '../../lib/predictor/stability.js';
import { expectClose } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { generate, HostTensors, samNoise, samOps } from '../support/reference.js';

const SCORES = [0.9, 0.2, 0.7, 0.7];

describe('the choice of masks', () => {
  it.each([
    [false, 1, [0]],
    [true, 1, [1, 2, 3]],
    ['best', 1, [0]],
    ['auto', 0, [2]],
    ['auto', 2, [2]],
    ['auto', 3, [0]],
  ] as const)('%s, with %i entries', (multimask, entries, indices) => {
    expect(chooseMasks(SCORES, multimask, entries)).toEqual(indices);
  });

  it.each([false, true, 'best', 'auto'] as const)('of a decoder with a single mask: %s', (multimask) => {
    expect(chooseMasks([0.4], multimask, 2)).toEqual([0]);
  });

  it('takes the first of equal scores', () => {
    expect(indexOfLargest([1, 3, 3, 2])).toBe(1);
    expect(indexOfLargest([9, 3, 3, 2], 1)).toBe(1);
    expect(selectAsOnnx([9, 5, 5, 5], 2)).toBe(1);
  });

  it.each(['multi', 1, null, undefined, {}])('refuses %s', async (multimask) => {
    const error = await errorOf(() => checkMultimask(multimask));
    expect(error.code).toBe('ERR_ARGUMENT');
    expect(error.message).toContain("'best' or 'auto'");
  });
});

describe('the stability score', async () => {
  const expected = await HostTensors.load('sam/ops/expected.safetensors');
  it.each(samOps('calculate_stability_score'))(
    'at threshold $mask_threshold, offset $threshold_offset',
    ({ logits, mask_threshold, threshold_offset, out }) => {
      const { shape, data } = generate(logits);
      const size = data.length / shape[0]!;
      const scores = Array.from({ length: shape[0]! }, (_, i) =>
        stabilityScore(data.subarray(i * size, (i + 1) * size), {
          threshold: mask_threshold,
          offset: threshold_offset,
        }),
      );
      expectClose(scores, expected.get(out).data, samNoise('sam/ops')[out]!);
    },
  );

  it.each(['abc', null, { length: Number.POSITIVE_INFINITY }, { length: -1 }])(
    'is none of %j',
    async (logits) => {
      expect((await errorOf(() => stabilityScore(logits as never))).code).toBe('ERR_ARGUMENT');
    },
  );

  it('is 1 for a mask with hard edges, 0 for one that vanishes, NaN for none', () => {
    expect(stabilityScore([5, 5, -5])).toBe(1);
    expect(stabilityScore([0.5, 0.9, -5])).toBe(0);
    expect(stabilityScore([-5, -5])).toBeNaN();
  });

  it('leaves out what is exactly at a limit', () => {
    expect(stabilityScore([1, -1, 1.5, -0.5])).toBe(1 / 3);
  });

  it.each([
    ['logits with their sizes', { data: new Float32Array(4), height: 2, width: 2 }, {}],
    ['nothing', undefined, {}],
    ['an offset in words', [1], { offset: 'one' }],
    ['an option there is not', [1], { margin: 1 }],
  ])('refuses %s', async (_, logits, options) => {
    const error = await errorOf(async () => stabilityScore(logits as number[], options as object));
    expect(error.code).toBe('ERR_ARGUMENT');
  });
});
