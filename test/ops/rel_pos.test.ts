import { describe, expect, it } from 'vitest';
import { relPos } from '../../lib/graph/ops/rel_pos.js';
import { expectClose } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { generate, HostTensors, samNoise, samOps } from '../support/reference.js';
import { host, runOne } from '../support/run.js';

describe('rel_pos', async () => {
  const noise = samNoise('sam/ops');
  const tensors = await HostTensors.load('sam/ops/expected.safetensors');

  it.each(samOps('get_rel_pos'))('Segment Anything, $out', async ({ q_size, k_size, rel_pos, out }) => {
    const table = generate(rel_pos);
    const build = { inputs: { other: table }, constants: { table } };
    // as an input of the run and, as in models, folded when compiling
    const given = await runOne({ table }, (graph, v) => relPos(graph, v.table!, q_size, k_size));
    const folded = await runOne(build.inputs, (graph, v) => relPos(graph, v.table!, q_size, k_size), build);
    expect(given.shape).toEqual(tensors.get(out).shape);
    expectClose(given.data, tensors.get(out).data, noise[out]!);
    expect(folded).toEqual(given);
  });

  // The distance of a pair is floor-rounded after one rounding of the sum, as Segment Anything's own code computes it.
  it.each([
    [11, 10],
    [20, 12],
    [7, 3],
    // Pairs where a product and its difference in one operation fall on the other side of a whole number.
    [33, 39],
    [77, 91],
  ])('queries and keys of other numbers: %i by %i', async (queries, keys) => {
    const rows = 2 * Math.max(queries, keys) - 1;
    const table = host(
      [rows, 1],
      Float32Array.from({ length: rows }, (_, i) => i),
    );
    const { data } = await runOne({ table }, (graph, v) => relPos(graph, v.table!, queries, keys));
    const f = Math.fround;
    const scales = [Math.max(keys / queries, 1), Math.max(queries / keys, 1)] as const;
    const want = Array.from({ length: queries * keys }, (_, at) => {
      const [i, j] = [Math.floor(at / keys), at % keys];
      const apart = f(f(i * f(scales[0])) - f(j * f(scales[1])));
      return Math.trunc(f(apart + f((keys - 1) * scales[1]))) + 0; // not −0
    });
    expect([...data]).toEqual(want);
  });

  it('refuses a table that is none', async () => {
    const table = generate({ name: 'table', shape: [1, 13, 6] });
    const error = await errorOf(() =>
      runOne({ table }, (graph, v) => graph.scope('blocks.0', () => relPos(graph, v.table!, 7, 7))),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('blocks.0: rel_pos');
    expect(error.message).toContain('table f32 [1, 13, 6]');
  });
});
