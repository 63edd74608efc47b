import { describe, expect, it } from 'vitest';
import { add } from '../../lib/graph/ops/add.js';
import { expectRounded } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { generate, type HostTensor } from '../support/reference.js';
import { roundedToBf16, run, runOne } from '../support/run.js';

/** Element of b for element `index` of a, by numpy's rules. */
function broadcast(a: HostTensor, b: HostTensor, index: number): number {
  let at = 0;
  let stride = 1;
  for (let axis = a.shape.length - 1, rest = index; axis >= 0; axis--) {
    const size = b.shape[axis - a.shape.length + b.shape.length] ?? 1;
    if (size > 1) at += (rest % a.shape[axis]!) * stride;
    stride *= size;
    rest = Math.floor(rest / a.shape[axis]!);
  }
  return b.data[at]!;
}

describe('add', () => {
  it.each([
    [[1], [1]],
    [
      [3, 5],
      [3, 5],
    ],
    [
      [2, 3, 4, 5],
      [1, 3, 4, 5],
    ],
    [
      [2, 3, 4, 5],
      [1, 1, 1, 5],
    ],
    [[2, 3, 4, 5], [5]],
    [
      [2, 3, 4, 5],
      [2, 1, 4, 1],
    ],
    [[2, 3, 4, 5], [1]],
    [
      [7, 33],
      [7, 1],
    ],
    [
      [2, 4, 17, 16],
      [1, 4, 17, 16],
    ],
  ])('a %s, b %s', async (shapeA, shapeB) => {
    const a = generate({ name: 'a', shape: shapeA });
    const b = generate({ name: 'b', shape: shapeB });
    const y = await runOne({ a, b }, (graph, v) => add(graph, v.a!, v.b!));
    expect(y.shape).toEqual(shapeA);
    expect(y.data).toEqual(a.data.map((value, i) => value + broadcast(a, b, i)));
  });

  it('adds bf16 to bf16 and to f32', async () => {
    const a = generate({ name: 'a', shape: [9, 21] });
    const b = generate({ name: 'b', shape: [1, 21] });
    const [roundA, roundB] = [roundedToBf16(a), roundedToBf16(b)];
    const y = await runOne({ a, b }, (graph, v) => add(graph, v.a!, v.b!), { dtype: 'bf16' });
    expectRounded(
      y.data,
      Array.from(roundA.data, (value, i) => value + broadcast(roundA, roundB, i)),
    );
    const mixed = await runOne({ a, b }, (graph, v) => add(graph, v.a!, v.b!), { dtypes: { b: 'bf16' } });
    expect(mixed.data).toEqual(a.data.map((value, i) => value + broadcast(a, roundB, i)));
  });

  it('may take over the memory of a sum that nobody else needs, and only then', async () => {
    const a = generate({ name: 'a', shape: [64] });
    const b = generate({ name: 'b', shape: [64] });
    const { once, all } = await run({ a, b }, (graph, v) => {
      const first = add(graph, v.a!, v.b!);
      const second = add(graph, first, v.b!);
      return { once: add(graph, second, v.a!), all: add(graph, add(graph, first, second), first) };
    });
    const f = Math.fround;
    const sums = a.data.map((value, i) => f(value + b.data[i]!));
    const twice = sums.map((value, i) => f(value + b.data[i]!));
    expect(once!.data).toEqual(twice.map((value, i) => value + a.data[i]!));
    expect(all!.data).toEqual(sums.map((value, i) => f(value + twice[i]!) + value));
  });

  it.each([
    [[3, 4], [3]],
    [
      [3, 4],
      [2, 3, 4],
    ],
    [
      [3, 4],
      [2, 4],
    ],
  ])('refuses a %s, b %s', async (shapeA, shapeB) => {
    const inputs = { a: generate({ name: 'a', shape: shapeA }), b: generate({ name: 'b', shape: shapeB }) };
    const error = await errorOf(() =>
      runOne(inputs, (graph, v) => graph.scope('fuse', () => add(graph, v.a!, v.b!))),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('fuse: add');
    expect(error.message).toContain(`a f32 [${shapeA.join(', ')}], b f32 [${shapeB.join(', ')}]`);
  });
});
