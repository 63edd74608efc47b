import { describe, expect, it } from 'vitest';
import { Graph } from '../../lib/graph/graph.js';
import { scaleSamples } from '../../lib/graph/ops/scale_samples.js';
import { errorOf } from '../support/errors.js';
import { host, runOne } from '../support/run.js';

describe('scale_samples', () => {
  it('gives each sample a number of its own', async () => {
    const x = host([3, 2, 2], [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    const scale = host([3], [2, 0, -0.5]);
    const y = await runOne({ x, scale }, (graph, v) => scaleSamples(graph, v.x!, v.scale!));
    expect([...y.data].map((value) => value + 0)).toEqual([2, 4, 6, 8, 0, 0, 0, 0, -4.5, -5, -5.5, -6]);
  });

  it('keeps the type of x', async () => {
    const inputs = { x: host([2, 3], [1, 2, 3, 4, 5, 6]), scale: host([2], [0.5, 3]) };
    const y = await runOne(inputs, (graph, v) => scaleSamples(graph, v.x!, v.scale!), {
      dtypes: { x: 'bf16' },
    });
    expect([...y.data]).toEqual([0.5, 1, 1.5, 12, 15, 18]);
  });

  it.each([
    [[2, 3], [3]],
    [
      [2, 3],
      [2, 1],
    ],
    [[], [1]],
  ])('refuses x %j by %j', async (x, scale) => {
    const graph = new Graph();
    const error = await errorOf(() => scaleSamples(graph, graph.input('x', x), graph.input('scale', scale)));
    expect(error).toMatchObject({ code: 'ERR_SHAPE', expected: 'x (B, …), scale (B)' });
  });
});
