import { describe, expect, it } from 'vitest';
import { layOut, type Span } from '../../lib/graph/arena.js';
import { evaluate } from '../../lib/graph/evaluate.js';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { activation } from '../../lib/graph/ops/activation.js';
import { add } from '../../lib/graph/ops/add.js';
import { concat } from '../../lib/graph/ops/concat.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { permute } from '../../lib/graph/ops/permute.js';
import { slice } from '../../lib/graph/ops/slice.js';
import { plan } from '../../lib/graph/plan.js';
import { Rng } from '../../lib/rng.js';
import type { Tensor } from '../../lib/runtime/tensor.js';
import { device } from '../support/run.js';

const overlap = (a0: number, a1: number, b0: number, b1: number) => a0 < b1 && b0 < a1;

describe('an arena', () => {
  it('gives spans that live at the same time memory of their own', () => {
    for (let seed = 0; seed < 200; seed++) {
      const draws = new Rng(seed);
      const spans = Array.from({ length: 1 + draws.below(40) }, (): Span => {
        const begin = draws.below(30);
        return { begin, end: begin + draws.below(10), bytes: draws.below(500), offset: -1 };
      });
      const total = layOut(spans);
      for (const [i, a] of spans.entries()) {
        expect(a.offset % 64).toBe(0);
        expect(a.offset + a.bytes).toBeLessThanOrEqual(total);
        for (const b of spans.slice(0, i)) {
          const together = overlap(a.begin, a.end + 1, b.begin, b.end + 1);
          if (together)
            expect(overlap(a.offset, a.offset + a.bytes, b.offset, b.offset + b.bytes)).toBe(false);
        }
      }
    }
  });

  it('gives memory that nobody needs any more to others', () => {
    const chain = Array.from(
      { length: 9 },
      (_, i): Span => ({ begin: i, end: i + 1, bytes: 640, offset: 0 }),
    );
    expect(layOut(chain)).toBe(2 * 640);
  });
});

/** Bytes of the arena for what is made of an input of 1 KiB. */
function arenaOf(build: (graph: Graph, x: Value) => Value): number {
  const graph = new Graph();
  return plan(graph, new Map([['y', build(graph, graph.input('x', [16, 16]))]])).arenaBytes;
}
const KIB = 1024;

describe('a plan', () => {
  it('lets an op write over what only it reads, and over nothing else', () => {
    const gelu = (graph: Graph, x: Value) => activation(graph, x, 'gelu');
    // The last one is the output's own memory.
    expect(arenaOf((graph, x) => gelu(graph, x))).toBe(0);
    expect(arenaOf((graph, x) => gelu(graph, gelu(graph, gelu(graph, x))))).toBe(KIB);
    const read = (graph: Graph, x: Value) => {
      const first = gelu(graph, x);
      return add(graph, gelu(graph, gelu(graph, first)), first);
    };
    expect(arenaOf(read)).toBe(2 * KIB);
    // Not over a part of what it reads from.
    const half = (graph: Graph, x: Value) => gelu(graph, slice(graph, gelu(graph, x), 0, 8, 16));
    expect(arenaOf((graph, x) => permute(graph, half(graph, x), [1, 0]))).toBe(1.5 * KIB);
    // Not over less than it writes.
    const repeated = (graph: Graph, x: Value) =>
      linear(graph, x, x, { residual: gelu(graph, slice(graph, x, 0, 0, 4)) });
    expect(arenaOf((graph, x) => permute(graph, repeated(graph, x), [1, 0]))).toBe(1.25 * KIB);
    // A permutation cannot write over what it reads.
    expect(arenaOf((graph, x) => gelu(graph, permute(graph, gelu(graph, x), [1, 0])))).toBe(2 * KIB);
  });

  it('computes the parts of what is joined where they will lie', () => {
    const halves = (graph: Graph, x: Value) =>
      concat(graph, [activation(graph, x, 'gelu'), activation(graph, x, 'relu')], 0);
    expect(arenaOf(halves)).toBe(0);
  });

  it('returns a part beside the whole', async () => {
    const x = device.tensor([2, 2], 'f32', Float32Array.of(1, -2, 3, -4));
    const { part, whole } = await evaluate({ x }, (graph, v) => {
      const first = activation(graph, v.x!, 'relu');
      return { part: first, whole: concat(graph, [v.x!, first], 0) };
    });
    expect([...(await part!.data())]).toEqual([1, 0, 3, 0]);
    expect([...(await whole!.data())]).toEqual([1, -2, 3, -4, 1, 0, 3, 0]);
  });

  it('gives to the byte what each op gives alone, whatever is shared, viewed, joined and returned', async () => {
    const SIDE = 40;
    const ops: ((graph: Graph, x: Value, y: Value) => Value)[] = [
      add,
      (graph, x, y) => linear(graph, x, y, { residual: x }),
      (graph, x) => activation(graph, x, 'sigmoid'),
      (graph, x) => permute(graph, x, [1, 0]),
      (graph, x, y) => slice(graph, concat(graph, [x, y], 0), 0, SIDE / 2, SIDE / 2 + SIDE),
      (graph, x, y) => slice(graph, concat(graph, [x, y], 0), 0, 0, SIDE),
      (graph, x, y) => slice(graph, concat(graph, [x, y], 1), 1, 3, 3 + SIDE),
      (graph, x, y) =>
        concat(graph, [slice(graph, x, 0, 0, SIDE / 2), slice(graph, y, 0, SIDE / 2, SIDE)], 0),
      (graph, x) => graph.reshape(activation(graph, graph.reshape(x, [SIDE * SIDE]), 'gelu'), [SIDE, SIDE]),
    ];
    for (let seed = 0; seed < 120; seed++) {
      const draws = new Rng(seed);
      const x = device.tensor(
        [SIDE, SIDE],
        'f32',
        Float32Array.from({ length: SIDE * SIDE }, () => draws.uniform(-1, 1)),
      );
      const recent = (i: number) => (draws.chance(0.6) ? i : draws.below(i + 1));
      const steps = Array.from({ length: 2 + draws.below(10) }, (_, i) => ({
        op: ops[draws.below(ops.length)]!,
        of: [recent(i), recent(i)] as const,
      }));
      const returned = Array.from({ length: 1 + draws.below(5) }, () => draws.below(steps.length + 1));

      const alone: Tensor[] = [x];
      for (const { op, of } of steps) {
        const [a, b] = of.map((i) => alone[i]!) as [Tensor, Tensor];
        alone.push((await evaluate({ a, b }, (graph, v) => ({ r: op(graph, v.a!, v.b!) }))).r!);
      }
      const together = await evaluate({ x }, (graph, { x: first }) => {
        const values = [first!];
        for (const { op, of } of steps) values.push(op(graph, values[of[0]]!, values[of[1]]!));
        return Object.fromEntries(returned.map((i, name) => [`${name}`, values[i]!]));
      });
      for (const [name, i] of returned.entries())
        expect(await together[name]!.data(), `seed ${seed}, value ${i}`).toEqual(await alone[i]!.data());
      for (const tensor of [...alone, ...Object.values(together)]) tensor.dispose();
    }
  });
});
