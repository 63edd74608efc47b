import { describe, expect, it } from 'vitest';
import { Graph } from '../../lib/graph/graph.js';
import { maskSummary } from '../../lib/graph/ops/mask_summary.js';
import { stabilityScore } from '../../lib/predictor/stability.js';
import { errorOf } from '../support/errors.js';
import { host, runOne } from '../support/run.js';

const [HEIGHT, WIDTH] = [9, 13];
const logits = host(
  [2, 2, HEIGHT, WIDTH],
  Array.from({ length: 4 * HEIGHT * WIDTH }, (_, i) => 3 * Math.sin(i * i)),
);

describe('mask_summary', () => {
  it.each([{}, { threshold: 0.5 }, { threshold: -1, offset: 0.1 }])(
    'has the areas of the stability score: %j',
    async (options) => {
      const { shape, data } = await runOne({ logits }, (graph, v) =>
        maskSummary(graph, v.logits!, { size: [HEIGHT, WIDTH], ...options }),
      );
      expect(shape).toEqual([2, 2, 6]);
      for (let mask = 0; mask < 4; mask++) {
        const one = logits.data.subarray(mask * HEIGHT * WIDTH, (mask + 1) * HEIGHT * WIDTH);
        expect(data[6 * mask]! / data[6 * mask + 1]!).toBeCloseTo(stabilityScore(one, options), 6);
      }
    },
  );

  it('looks at the first rows and columns alone', async () => {
    const spot = host([1, 1, 3, 4], [-1, 2, 9, 9, -1, -1, 9, 9, 9, 9, 9, 9]);
    const { data } = await runOne({ logits: spot }, (graph, v) =>
      maskSummary(graph, v.logits!, { size: [2, 2] }),
    );
    expect([...data]).toEqual([1, 1, 1, 0, 2, 1]);
  });

  it.each([
    [
      [1, 2, 4],
      [2, 2],
    ],
    [
      [1, 2, 4, 4],
      [5, 2],
    ],
    [
      [1, 2, 4, 4],
      [2, -1],
    ],
  ] as const)('refuses logits %j with size %j', async (shape, size) => {
    const graph = new Graph();
    const error = await errorOf(() => maskSummary(graph, graph.input('logits', shape), { size }));
    expect(error.code).toBe('ERR_SHAPE');
  });
});
