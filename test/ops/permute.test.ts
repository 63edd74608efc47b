import { describe, expect, it } from 'vitest';
import { permute } from '../../lib/graph/ops/permute.js';
import { errorOf } from '../support/errors.js';
import { permuted } from '../support/layout.js';
import { generate } from '../support/reference.js';
import { host, roundedToBf16, runOne } from '../support/run.js';

const CASES: [shape: number[], order: number[]][] = [
  [[5], [0]],
  [
    [3, 4],
    [0, 1],
  ],
  [
    [1, 7],
    [1, 0],
  ],
  [
    [33, 65],
    [1, 0],
  ],
  [
    [2, 3, 4],
    [2, 0, 1],
  ],
  [
    [2, 5, 7, 6],
    [0, 2, 3, 1],
  ],
  [
    [2, 6, 5, 7],
    [0, 3, 1, 2],
  ],
  [
    [8, 6, 2, 2],
    [2, 3, 1, 0],
  ],
];

describe('permute', () => {
  it.each(CASES)('%s by %s', async (shape, order) => {
    const x = generate({ name: 'x', shape });
    const y = await runOne({ x }, (graph, v) => permute(graph, v.x!, order));
    expect(y).toEqual(permuted(x, order));
  });

  it.each(CASES)('%s by %s in bf16, i32 and u8', async (shape, order) => {
    const x = generate({ name: 'x', shape });
    const build = (graph: Parameters<typeof permute>[0], v: Record<string, Parameters<typeof permute>[1]>) =>
      permute(graph, v.x!, order);
    expect(await runOne({ x }, build, { dtype: 'bf16' })).toEqual(permuted(roundedToBf16(x), order));
    const whole = host(
      shape,
      x.data.map((_, i) => i % 251),
    );
    for (const dtype of ['i32', 'u8'] as const) {
      expect(await runOne({ x: whole }, build, { dtype })).toEqual(permuted(whole, order));
    }
  });

  it.each([[[0, 1]], [[0, 1, 1]], [[0, 1, 3]], [[0, 1, 2, 3]]])(
    'refuses the order %s of three axes',
    async (order) => {
      const x = generate({ name: 'x', shape: [2, 3, 4] });
      const error = await errorOf(() =>
        runOne({ x }, (graph, v) => graph.scope('head', () => permute(graph, v.x!, order))),
      );
      expect(error.code).toBe('ERR_SHAPE');
      expect(error.message).toContain('head: permute');
      expect(error.message).toContain('x f32 [2, 3, 4]');
    },
  );
});
