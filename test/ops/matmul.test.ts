import { describe, expect, it } from 'vitest';
import { matmul } from '../../lib/graph/ops/matmul.js';
import { expectClose } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { item } from '../support/layout.js';
import { product } from '../support/naive.js';
import { generate } from '../support/reference.js';
import { runOne } from '../support/run.js';

describe('matmul', () => {
  it.each([
    [1, 1, 1, 1],
    [1, 4, 16, 32],
    [3, 4, 1040, 32],
    [2, 5, 37, 7],
    [2, 33, 9, 129],
  ])('batch %i, %i × %i, inner %i', async (batch, m, n, k) => {
    const a = generate({ name: 'a', shape: [batch, m, k] });
    const b = generate({ name: 'b', shape: [batch, n, k] });
    const y = await runOne({ a, b }, (graph, v) => matmul(graph, v.a!, v.b!));
    expect(y.shape).toEqual([batch, m, n]);
    for (let i = 0; i < batch; i++)
      expectClose(item(y, i).data, product(item(a, i).data, item(b, i).data, k), {});
  });

  it('repeats b over the batch', async () => {
    const a = generate({ name: 'a', shape: [3, 4, 8] });
    const b = generate({ name: 'b', shape: [1, 19, 8] });
    const y = await runOne({ a, b }, (graph, v) => matmul(graph, v.a!, v.b!));
    for (let i = 0; i < 3; i++) expectClose(item(y, i).data, product(item(a, i).data, b.data, 8), {});
  });

  it.each([
    [
      [2, 4, 8],
      [3, 5, 8],
    ],
    [
      [2, 4, 8],
      [2, 5, 9],
    ],
    [
      [4, 8],
      [1, 5, 8],
    ],
    [
      [1, 4, 0],
      [1, 5, 0],
    ],
  ])('refuses a %s, b %s', async (a, b) => {
    const inputs = { a: generate({ name: 'a', shape: a }), b: generate({ name: 'b', shape: b }) };
    const error = await errorOf(() =>
      runOne(inputs, (graph, v) => graph.scope('head', () => matmul(graph, v.a!, v.b!))),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('head: matmul');
    expect(error.message).toContain(`a f32 [${a.join(', ')}], b f32 [${b.join(', ')}]`);
  });
});
