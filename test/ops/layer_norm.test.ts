import { describe, expect, it } from 'vitest';
import { ACTIVATIONS, type Activation } from '../../lib/graph/ops/activation.js';
import { type LayerNormOptions, layerNorm } from '../../lib/graph/ops/layer_norm.js';
import { expectClose, expectRounded } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { channelsFirst, channelsLast, item } from '../support/layout.js';
import { ACTIVATION } from '../support/naive.js';
import { generate, type HostTensor, HostTensors, opCases, samNoise, samOps } from '../support/reference.js';
import { type RunOptions, roundedToBf16, runOne } from '../support/run.js';

interface Norm {
  x: HostTensor;
  weight: HostTensor;
  bias: HostTensor;
  gate?: HostTensor;
}

const apply = (
  { x, weight, bias, gate }: Norm,
  options: Omit<LayerNormOptions, 'gate'> = {},
  how: RunOptions = {},
) =>
  runOne(
    { x, ...(gate && { gate }) },
    (graph, v) => layerNorm(graph, v.x!, v.weight!, v.bias!, { ...options, gate: v.gate }),
    {
      ...how,
      constants: { weight, bias },
    },
  );

function expected(
  { x, weight, bias, gate }: Norm,
  eps: number,
  activation: Activation = 'none',
): Float64Array {
  const channels = weight.data.length;
  const out = new Float64Array(x.data.length);
  for (let row = 0; row < out.length; row += channels) {
    const values = x.data.subarray(row, row + channels);
    const mean = values.reduce((sum, value) => sum + value, 0) / channels;
    const variance = values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / channels;
    for (let c = 0; c < channels; c++) {
      const normal = ((values[c]! - mean) / Math.sqrt(variance + eps)) * weight.data[c]! + bias.data[c]!;
      out[row + c] = ACTIVATION[activation](normal) * (gate?.data[row + c] ?? 1);
    }
  }
  return out;
}

const norm = (rows: number[], channels: number): Required<Norm> => ({
  x: generate({ name: 'x', shape: [...rows, channels], offset: 0.3, scale: 2 }),
  weight: generate({ name: 'weight', shape: [channels], offset: 1, scale: 0.25 }),
  bias: generate({ name: 'bias', shape: [channels], scale: 0.1 }),
  gate: generate({ name: 'gate', shape: [...rows, channels], scale: 1.5 }),
});

describe('layer_norm', async () => {
  const rows = await HostTensors.load('ops/layernorm.safetensors');
  const maps = await HostTensors.load('ops/layernorm2d.safetensors');
  const samNoises = samNoise('sam/ops');
  const samTensors = await HostTensors.load('sam/ops/expected.safetensors');

  it.each(opCases('layernorm'))('reference $name', async ({ name, params, fp32_vs_fp64 }) => {
    const get = (tensor: string) => rows.get(`${name}/${tensor}`);
    const y = await apply({ x: get('x'), weight: get('w.weight'), bias: get('w.bias') }, { eps: params.eps });
    expectClose(y.data, get('out').data, fp32_vs_fp64.out!);
  });

  it.each(opCases('layernorm2d'))(
    'reference over channels of a map, $name',
    async ({ name, params, fp32_vs_fp64 }) => {
      const get = (tensor: string) => maps.get(`${name}/${tensor}`);
      const y = await apply(
        { x: channelsLast(get('x')), weight: get('w.weight'), bias: get('w.bias') },
        { eps: params.eps },
      );
      expectClose(channelsFirst(y).data, get('out').data, fp32_vs_fp64.out!);
    },
  );

  it.each([...samOps('layer_norm'), ...samOps('layer_norm_2d')])(
    'Segment Anything, $out',
    async ({ op, eps, x, weight, bias, out }) => {
      const y = await apply(
        { x: channelsLast(generate(x)), weight: generate(weight), bias: generate(bias) },
        { eps },
      );
      const actual = op === 'layer_norm_2d' ? channelsFirst(y) : y;
      expectClose(actual.data, samTensors.get(out).data, samNoises[out]!);
    },
  );

  it.each([1, 2, 3, 7, 8, 15, 16, 17, 31, 33, 96, 768])('%i channels', async (channels) => {
    const { gate: _, ...given } = norm([5], channels);
    expectClose((await apply(given)).data, expected(given, 1e-5), {});
  });

  it.each(Object.keys(ACTIVATIONS) as Activation[])('%s and a gate', async (activation) => {
    const given = norm([2, 3, 4], 24);
    expectClose((await apply(given, { activation })).data, expected(given, 1e-5, activation), {});
  });

  it('takes and gives bf16', async () => {
    const given = norm([37], 96);
    const rounded = { ...given, x: roundedToBf16(given.x), gate: roundedToBf16(given.gate) };
    const y = await apply(given, {}, { dtype: 'bf16' });
    expectRounded(y.data, expected(rounded, 1e-5));
    const wide = await apply(given, { dtype: 'f32' }, { dtype: 'bf16' });
    expectClose(wide.data, expected(rounded, 1e-5), {});
    const narrow = await apply(given, { dtype: 'bf16' });
    expectRounded(narrow.data, expected(given, 1e-5));
  });

  it('gives each item of a batch what it gets alone', async () => {
    const { gate: _, ...given } = norm([3, 9], 40);
    const together = await apply(given);
    for (let i = 0; i < 3; i++) {
      expect((await apply({ ...given, x: item(given.x, i) })).data).toEqual(item(together, i).data);
    }
  });

  it('refuses to take from the variance', async () => {
    const error = await errorOf(() => apply(norm([2], 4), { eps: -1e-5 }));
    expect(error.message).toContain('eps of at least 0');
  });

  it.each([
    ['a weight of another length', { weight: [5] }],
    ['a bias of another length', { bias: [3] }],
    ['a gate of another shape', { gate: [3, 4] }],
  ])('refuses %s', async (_, wrong: Record<string, number[]>) => {
    const shapes: Record<string, number[]> = { x: [2, 4], weight: [4], bias: [4], ...wrong };
    const inputs = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, generate({ name, shape })]),
    );
    const error = await errorOf(() =>
      runOne(inputs, (graph, v) =>
        graph.scope('norm1', () => layerNorm(graph, v.x!, v.weight!, v.bias!, { gate: v.gate })),
      ),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('norm1: layer_norm');
    const [name, shape] = Object.entries(wrong)[0]!;
    expect(error.message).toContain(`${name} f32 [${shape.join(', ')}]`);
  });
});
