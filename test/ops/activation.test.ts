import { describe, expect, it } from 'vitest';
import { ACTIVATIONS, type Activation, activation } from '../../lib/graph/ops/activation.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { expectClose, expectRounded, expectWithin } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { ACTIVATION } from '../support/naive.js';
import { generate, HostTensors, opCases, samNoise, samOps } from '../support/reference.js';
import { host, roundedToBf16, runOne } from '../support/run.js';

const names = Object.keys(ACTIVATIONS) as Activation[];

describe('activation', () => {
  it('gelu is the erf form of the reference', async () => {
    const { name, fp32_vs_fp64 } = opCases('gelu')[0]!;
    const tensors = await HostTensors.load('ops/gelu.safetensors');
    const y = await runOne({ x: tensors.get(`${name}/x`) }, (graph, { x }) => activation(graph, x!, 'gelu'));
    expectClose(y.data, tensors.get(`${name}/out`).data, fp32_vs_fp64.out!);
  });

  it('gelu is that of Segment Anything', async () => {
    const { x } = samOps('gelu')[0]!;
    const tensors = await HostTensors.load('sam/ops/expected.safetensors');
    const y = await runOne({ x: generate(x) }, (graph, values) => activation(graph, values.x!, 'gelu'));
    expectClose(y.data, tensors.get('gelu').data, samNoise('sam/ops').gelu!);
  });

  it.each(names)('%s keeps its definition from −100 to 100', async (name) => {
    const x = host(
      [403],
      Float32Array.from({ length: 403 }, (_, i) => (i - 201) ** 3 / 201 ** 2 / 2),
    );
    const y = await runOne({ x }, (graph, v) => activation(graph, v.x!, name));
    const expected = Array.from(x.data, ACTIVATION[name]);
    expectClose(y.data, expected, {}, name);
    // also where values are small beside the largest
    const near = x.data.map((value) => (Math.abs(value) < 4 ? 1 : 0));
    expectWithin(
      y.data.map((value, i) => value * near[i]!),
      expected.map((value, i) => value * near[i]!),
      { relL2: 1e-6 },
      `${name} near 0`,
    );
  });

  it.each(names)('%s takes and gives bf16', async (name) => {
    const x = generate({ name: 'x', shape: [3, 5, 7], scale: 4 });
    const options = { dtype: 'bf16' as const };
    const y = await runOne({ x }, (graph, v) => activation(graph, v.x!, name), options);
    const expected = roundedToBf16(x).data.map(ACTIVATION[name]);
    expectRounded(y.data, expected);
    const wide = await runOne({ x }, (graph, v) => activation(graph, v.x!, name, 'f32'), options);
    expectClose(wide.data, expected, {});
  });

  it.each([1, 2, 15, 16, 17, 1000])('%i elements', async (length) => {
    const x = generate({ name: 'x', shape: [length], scale: 3 });
    const y = await runOne({ x }, (graph, v) => activation(graph, v.x!, 'silu'));
    expectClose(y.data, x.data.map(ACTIVATION.silu), {});
  });

  it.each(['swish', 'toString', null])('refuses %s, and says what there is', async (name) => {
    const [x, wrong] = [host([2, 2], [1, 2, 3, 4]), name as Activation];
    const expected = `activation; expected none, gelu, silu, relu, sigmoid; got ${name}`;
    const alone = await errorOf(() => runOne({ x }, (graph, v) => activation(graph, v.x!, wrong)));
    expect(alone.message).toBe(`activation: ${expected}`);
    const fused = await errorOf(() =>
      runOne({ x }, (graph, v) => linear(graph, v.x!, v.x!, { activation: wrong })),
    );
    expect(fused.message).toBe(`linear: ${expected}`);
  });

  it('passes infinities and NaN on', async () => {
    const x = host([4], [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN, -0]);
    for (const name of ['gelu', 'silu', 'sigmoid'] as const) {
      const { data } = await runOne({ x }, (graph, v) => activation(graph, v.x!, name));
      expect([data[0], data[2]], name).toEqual([
        name === 'sigmoid' ? 1 : Number.POSITIVE_INFINITY,
        Number.NaN,
      ]);
    }
  });
});
