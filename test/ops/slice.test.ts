import { describe, expect, it } from 'vitest';
import type { Graph, Value } from '../../lib/graph/graph.js';
import { activation } from '../../lib/graph/ops/activation.js';
import { slice } from '../../lib/graph/ops/slice.js';
import { errorOf } from '../support/errors.js';
import { permuted } from '../support/layout.js';
import { generate, type HostTensor } from '../support/reference.js';
import { roundedToBf16, runOne } from '../support/run.js';

function part(x: HostTensor, axis: number, start: number, end: number): HostTensor {
  const order = x.shape.map((_, i) => (i === 0 ? axis : i <= axis ? i - 1 : i));
  const front = permuted(x, order);
  const row = front.data.length / front.shape[0]!;
  const cut = {
    shape: [end - start, ...front.shape.slice(1)],
    data: front.data.slice(start * row, end * row),
  };
  return permuted(
    cut,
    order.map((_, i) => order.indexOf(i)),
  );
}

const CASES: [shape: number[], axis: number, start: number, end: number][] = [
  [[5], 0, 1, 4],
  [[4, 6], 0, 2, 3],
  [[4, 6], 1, 0, 6],
  [[4, 6], 1, 5, 6],
  [[1, 6, 3], 1, 2, 5],
  [[2, 9, 4], 1, 3, 7],
  [[2, 3, 33], 2, 1, 32],
  [[1, 1, 197], 2, 1, 197],
  [[3, 4, 2, 2], 1, 0, 3],
];

const build = (axis: number, start: number, end: number) => (graph: Graph, v: Record<string, Value>) =>
  slice(graph, v.x!, axis, start, end);

describe('slice', () => {
  it.each(CASES)('%s along axis %i from %i to %i', async (shape, axis, start, end) => {
    const x = generate({ name: 'x', shape });
    const expected = part(x, axis, start, end);
    expect(await runOne({ x }, build(axis, start, end))).toEqual(expected);
    const half = await runOne({ x }, build(axis, start, end), { dtype: 'bf16' });
    expect(half).toEqual(part(roundedToBf16(x), axis, start, end));
    // of a value in the arena, and of a constant
    const inner = await runOne({ x }, (graph, v) =>
      slice(graph, activation(graph, v.x!, 'none'), axis, start, end),
    );
    expect(inner).toEqual(expected);
    const fromConstant = await runOne(
      { other: x },
      (graph, v) => activation(graph, build(axis, start, end)(graph, v), 'none'),
      { constants: { x } },
    );
    expect(fromConstant).toEqual(expected);
  });

  it('is a view where the part is contiguous', async () => {
    const x = generate({ name: 'x', shape: [1, 8, 4] });
    let nodes = -1;
    await runOne({ x }, (graph, v) => {
      const y = activation(graph, slice(graph, v.x!, 1, 2, 5), 'relu');
      nodes = graph.nodes.length;
      return y;
    });
    expect(nodes).toBe(1);
  });

  it.each([
    [1, -1, 2],
    [1, 2, 2],
    [1, 0, 7],
    [2, 0, 1],
  ])('refuses axis %i from %i to %i', async (axis, start, end) => {
    const x = generate({ name: 'x', shape: [4, 6] });
    const error = await errorOf(() =>
      runOne({ x }, (graph, v) => graph.scope('part', () => build(axis, start, end)(graph, v))),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('part');
    expect(error.message).toMatch(/4, ?6/);
  });
});
