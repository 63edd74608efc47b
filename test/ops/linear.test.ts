import { describe, expect, it } from 'vitest';
import type { Graph, Value } from '../../lib/graph/graph.js';
import { ACTIVATIONS, type Activation, activation } from '../../lib/graph/ops/activation.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { expectClose, expectRounded } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { item } from '../support/layout.js';
import { ACTIVATION, product } from '../support/naive.js';
import { generate, type HostTensor } from '../support/reference.js';
import { device, host, roundedToBf16, run, runOne } from '../support/run.js';

interface Layer {
  x: HostTensor;
  weight: HostTensor;
  bias?: HostTensor;
  residual?: HostTensor;
}

const layer = (rows: number[], inner: number, outer: number): Required<Layer> => ({
  x: generate({ name: 'x', shape: [...rows, inner], scale: 1 }),
  weight: generate({ name: 'weight', shape: [outer, inner], scale: Math.sqrt(3 / inner) }),
  bias: generate({ name: 'bias', shape: [outer], scale: 0.5 }),
  residual: generate({ name: 'residual', shape: [...rows, outer], scale: 2 }),
});

function expected({ x, weight, bias, residual }: Layer, activation: Activation = 'none'): Float64Array {
  const inner = weight.shape[1]!;
  const outer = weight.shape[0]!;
  return product(x.data, weight.data, inner).map((sum, i) => {
    const value = ACTIVATION[activation](sum + (bias?.data[i % outer] ?? 0));
    return value + (residual ? residual.data[i % residual.data.length]! : 0);
  });
}

/**
 * The weight as bf16 products see it: rounded where the processor multiplies bf16, as it is where products are f32
 * anyway and only x is stored in bf16.
 */
const inBf16 = (weight: HostTensor): HostTensor =>
  device.kind === 'cpu' && !/^using (amx|avx512bf16)/.test(device.info().detail)
    ? weight
    : roundedToBf16(weight);

const build =
  (activation: Activation = 'none') =>
  (graph: Graph, { x, weight, bias, residual }: Record<string, Value>): Value =>
    linear(graph, x!, weight!, { bias, residual, activation });

describe('linear', () => {
  const sizes: [rows: number[], inner: number, outer: number][] = [
    [[1], 1, 1],
    [[1], 768, 3],
    [[3], 5, 7],
    [[8], 48, 48],
    [[9, 11], 33, 49],
    [[2, 65], 130, 97],
    [[257], 96, 288],
    [[5], 2048, 256],
    [[1100], 16, 1],
  ];

  it.each(sizes)('x [%s, %i] to %i columns', async (rows, inner, outer) => {
    const { x, weight } = layer(rows, inner, outer);
    const y = await runOne({ x }, build(), { constants: { weight } });
    expect(y.shape).toEqual([...rows, outer]);
    expectClose(y.data, expected({ x, weight }), {});
  });

  it.each(sizes)('x [%s, %i] to %i columns in bf16', async (rows, inner, outer) => {
    const { x, weight, bias } = layer(rows, inner, outer);
    const y = await runOne({ x }, build('gelu'), { constants: { weight, bias }, dtype: 'bf16' });
    const want = expected({ x: roundedToBf16(x), weight: inBf16(weight), bias }, 'gelu');
    expectRounded(y.data, want);
  });

  it.each(Object.keys(ACTIVATIONS) as Activation[])('bias, %s and residual', async (name) => {
    const { x, residual, ...constants } = layer([3, 17], 24, 40);
    const y = await runOne({ x, residual }, build(name), { constants });
    expectClose(y.data, expected({ x, residual, ...constants }, name), {});
  });

  it('repeats a residual over the batch', async () => {
    const { x, weight } = layer([4, 6], 10, 20);
    const residual = generate({ name: 'residual', shape: [1, 6, 20] });
    const y = await runOne({ x, residual }, build(), { constants: { weight } });
    expectClose(y.data, expected({ x, weight, residual }), {});
  });

  it('needs no rows, nor does its residual', async () => {
    const y = await runOne({ x: host([0, 4], []), residual: host([0, 3], []) }, build(), {
      constants: { weight: generate({ name: 'weight', shape: [3, 4] }) },
    });
    expect(y).toEqual(host([0, 3], []));
  });

  it('adds an f32 residual to a bf16 product without rounding it', async () => {
    const { x, residual, weight } = layer([31], 64, 96);
    const y = await runOne({ x, residual }, build(), { constants: { weight }, dtypes: { x: 'bf16' } });
    expectClose(y.data, expected({ x: roundedToBf16(x), weight: inBf16(weight), residual }), {});
  });

  it('takes a weight that is computed in the same run', async () => {
    const { x, weight, bias } = layer([13], 21, 35);
    const y = await runOne({ x, weight }, build(), { constants: { bias } });
    expectClose(y.data, expected({ x, weight, bias }), {});
  });

  it('takes a weight (K, N)', async () => {
    const { x, weight, bias } = layer([13], 21, 35);
    const turned = {
      ...weight,
      shape: [21, 35],
      data: weight.data.map((_, i) => weight.data[(i % 35) * 21 + Math.floor(i / 35)]!),
    };
    const y = await runOne(
      { x, turned },
      (graph, v) => linear(graph, v.x!, v.turned!, { bias: v.bias, transposed: true }),
      { constants: { bias } },
    );
    expectClose(y.data, expected({ x, weight, bias }), {});
  });

  it('takes rows of a weight', async () => {
    const { x, weight } = layer([9], 12, 40);
    const y = await runOne({ x }, (graph, v) => linear(graph, v.x!, graph.rows(v.weight!, 16, 40)), {
      constants: { weight },
    });
    expectClose(y.data, product(x.data, weight.data.subarray(16 * 12), 12), {});
  });

  it('gives each item of a batch what it gets alone', async () => {
    const { x, ...constants } = layer([3, 50], 96, 64);
    const { weight } = constants;
    const together = await runOne({ x }, build(), { constants: { weight } });
    for (let i = 0; i < 3; i++) {
      const alone = await runOne({ x: item(x, i) }, build(), { constants: { weight } });
      expect(alone.data).toEqual(item(together, i).data);
    }
  });

  it('writes over a residual that nobody needs any more, but not where that is x itself', async () => {
    const { x, weight } = layer([40], 96, 96);
    const { hidden, y } = await run(
      { x },
      (graph, v) => {
        const again = () => linear(graph, v.x!, v.weight!);
        const first = again();
        const sum = linear(graph, first, v.weight!, { residual: first });
        return {
          hidden: again(),
          y: activation(graph, linear(graph, v.x!, v.weight!, { residual: sum }), 'none'),
        };
      },
      { constants: { weight } },
    );
    const twice = product(hidden!.data, weight.data, 96);
    const want = twice.map((value, i) => value + 2 * hidden!.data[i]!);
    expectClose(y!.data, want, {});
  });

  it('shares a weight between two layers', async () => {
    const { x, weight } = layer([7], 18, 18);
    const { y, z } = await run(
      { x },
      (graph, v) => {
        const once = linear(graph, v.x!, v.weight!);
        return { y: once, z: linear(graph, once, v.weight!) };
      },
      { constants: { weight } },
    );
    expectClose(z!.data, product(y!.data, weight.data, 18), {});
  });

  it.each([
    ['a weight of other columns', { weight: [8, 5] }, 'weight [8, 5]', 'weight (N, 4)'],
    ['a weight of one axis', { weight: [4] }, 'weight [4]', 'weight (N, 4)'],
    ['rows of nothing', { x: [6, 0], weight: [8, 0] }, 'x f32 [6, 0]', 'K from 1'],
    ['a bias of another length', { bias: [3] }, 'bias f32 [3]', 'bias (8)'],
    ['a residual of other columns', { residual: [2, 9] }, 'residual f32 [2, 9]', 'residual (…, 8)'],
    ['a residual whose rows do not divide', { residual: [4, 8] }, 'residual f32 [4, 8]', 'rows dividing 6'],
  ])('refuses %s', async (_, wrong: Record<string, number[]>, actual, want) => {
    const shapes: Record<string, number[]> = { x: [6, 4], weight: [8, 4], ...wrong };
    const inputs = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, generate({ name, shape })]),
    );
    const error = await errorOf(() =>
      run(inputs, (graph, v) => ({
        y: graph.scope('blocks.3', () => graph.scope('mlp', () => build()(graph, v))),
      })),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.where).toBe('blocks.3.mlp');
    expect(error.message).toContain(`x f32 [${shapes.x!.join(', ')}]`);
    expect(error.message).toContain(actual.replace(/^weight /, 'weight f32 '));
    expect(error.message).toContain(want);
  });
});
