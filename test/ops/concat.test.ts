import { describe, expect, it } from 'vitest';
import { Graph } from '../../lib/graph/graph.js';
import { add } from '../../lib/graph/ops/add.js';
import { concat } from '../../lib/graph/ops/concat.js';
import { plan } from '../../lib/graph/plan.js';
import { STORAGE } from '../../lib/runtime/plan.js';
import { errorOf } from '../support/errors.js';
import { permuted } from '../support/layout.js';
import { generate, type HostTensor } from '../support/reference.js';
import { host, roundedToBf16, run, runOne } from '../support/run.js';

function joined(parts: HostTensor[], axis: number): HostTensor {
  const rank = parts[0]!.shape.length;
  const order = [axis, ...Array.from({ length: rank }, (_, i) => i).filter((i) => i !== axis)];
  const front = parts.map((part) => permuted(part, order));
  const all = {
    shape: [front.reduce((sum, { shape }) => sum + shape[0]!, 0), ...front[0]!.shape.slice(1)],
    data: Float32Array.from(front.flatMap(({ data }) => [...data])),
  };
  return permuted(
    all,
    order.map((_, i) => order.indexOf(i)),
  );
}

const parts = (shapes: number[][]): Record<string, HostTensor> =>
  Object.fromEntries(shapes.map((shape, i) => [`p${i}`, generate({ name: `p${i}`, shape })]));

describe('concat', () => {
  it.each([
    [0, [[2], [3], [1]]],
    [
      0,
      [
        [1, 4],
        [5, 4],
      ],
    ],
    [
      1,
      [
        [2, 1, 3],
        [2, 7, 3],
      ],
    ],
    [
      2,
      [
        [2, 3, 5],
        [2, 3, 1],
        [2, 3, 16],
      ],
    ],
    [
      3,
      [
        [1, 4, 4, 6],
        [1, 4, 4, 6],
      ],
    ],
    [
      1,
      [
        [3, 64, 24],
        [3, 16, 24],
        [3, 4, 24],
      ],
    ],
  ])('along axis %i: %j', async (axis, shapes) => {
    const given = parts(shapes);
    const y = await runOne(given, (graph, v) => concat(graph, Object.values(v), axis));
    expect(y).toEqual(joined(Object.values(given), axis));
    const half = await runOne(given, (graph, v) => concat(graph, Object.values(v), axis), { dtype: 'bf16' });
    expect(half).toEqual(joined(Object.values(given).map(roundedToBf16), axis));
  });

  it('joins more than ten parts in their order', async () => {
    const given = Object.fromEntries(Array.from({ length: 12 }, (_, i) => [`p${i}`, host([1], [i])]));
    const y = await runOne(given, (graph, v) =>
      concat(
        graph,
        Object.keys(given).map((name) => v[name]!),
        0,
      ),
    );
    expect([...y.data]).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it('takes one value several times', async () => {
    const y = await runOne({ x: host([2], [1, 2]) }, (graph, { x }) => concat(graph, [x!, x!, x!], 0));
    expect([...y.data]).toEqual([1, 2, 1, 2, 1, 2]);
  });

  it.each([
    [
      'parts that differ elsewhere',
      0,
      [
        [2, 3],
        [2, 4],
      ],
    ],
    [
      'parts of other rank',
      1,
      [
        [2, 3],
        [2, 3, 1],
      ],
    ],
    [
      'an axis that is none',
      2,
      [
        [2, 3],
        [2, 3],
      ],
    ],
  ])('refuses %s', async (_, axis, shapes) => {
    const error = await errorOf(() =>
      runOne(parts(shapes), (graph, v) => graph.scope('tokens', () => concat(graph, Object.values(v), axis))),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('tokens: concat');
    expect(error.message).toContain(`x1 f32 [${shapes[1]!.join(', ')}]`);
  });

  it('refuses parts of two types', async () => {
    const error = await errorOf(() =>
      runOne(parts([[2], [2]]), (graph, v) => concat(graph, Object.values(v), 0), { dtypes: { p1: 'bf16' } }),
    );
    expect(error.message).toContain('x0 f32 [2], x1 bf16 [2]');
  });

  it('joins values computed in the run, one of them twice, and ones that are used elsewhere', async () => {
    const inputs = parts([
      [3, 20],
      [2, 20],
    ]);
    const { joined: all, twice } = await run(inputs, (graph, v) => {
      const doubled = add(graph, v.p0!, v.p0!);
      const twice = add(graph, doubled, doubled);
      const flat = graph.reshape(doubled, [1, 3, 20]);
      const rest = graph.reshape(v.p1!, [1, 2, 20]);
      const sum = graph.reshape(add(graph, v.p1!, v.p1!), [1, 2, 20]);
      const part = graph.reshape(graph.rows(twice, 1, 2), [1, 1, 20]);
      return { joined: concat(graph, [flat, rest, sum, flat, part], 1), twice };
    });
    const times = (factor: number, { shape, data }: HostTensor) =>
      host(
        shape,
        data.map((x) => factor * x),
      );
    const [p0, p1] = [inputs.p0!, inputs.p1!];
    const row = host([1, 20], p0.data.subarray(20, 40));
    const want = joined([times(2, p0), p1, times(2, p1), times(2, p0), times(4, row)], 0);
    expect([...all!.data]).toEqual([...want.data]);
    expect([...twice!.data]).toEqual([...times(4, p0).data]);
  });

  it('computes parts of an output where they will lie, but not across the words that ops write', () => {
    const graph = new Graph();
    const sums = [8, 3, 5, 4].map((size, i) => {
      const x = graph.input(`x${i}`, [size]);
      return add(graph, x, x);
    });
    const laid = plan(graph, new Map([['y', concat(graph, sums, 0)]]));
    const places = laid.nodes.filter(({ op }) => op === 'add').map(({ result }) => laid.values[result]!);
    // In elements, the parts begin at 0, 8, 11 and 16; four are a word.
    expect(places.map(({ storage, offset }) => (storage === STORAGE.output ? offset : undefined))).toEqual([
      0,
      32,
      undefined,
      64,
    ]);
  });
});
