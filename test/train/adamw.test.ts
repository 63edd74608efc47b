import { describe, expect, it } from 'vitest';
import { program } from '../../lib/graph/evaluate.js';
import { type AdamWOptions, adamw, type ParameterGroup } from '../../lib/graph/ops/adamw.js';
import { device } from '../support/run.js';

const random = (length: number, seed: number, scale = 1) =>
  Float32Array.from({ length }, (_, i) => scale * Math.sin(12.9898 * (i + 1) + 78.233 * seed));

/** The definition, parameter by parameter, in double precision. */
function reference(
  state: Float32Array,
  gradient: Float32Array,
  [lr, bias1, bias2, count, average]: readonly number[],
  groups: readonly ParameterGroup[],
  { betas: [beta1, beta2], eps, clip }: AdamWOptions,
): Float64Array {
  const size = gradient.length;
  const out = Float64Array.from(state);
  const norm = Math.hypot(...gradient) / count!;
  const scale = (clip > 0 ? Math.min(1, clip / (norm + 1e-6)) : 1) / count!;
  let at = 0;
  for (const { length, rate, decay } of groups) {
    for (const end = at + length; at < end; at++) {
      const g = gradient[at]! * scale;
      const m = beta1 * state[size + at]! + (1 - beta1) * g;
      const v = beta2 * state[2 * size + at]! + (1 - beta2) * g * g;
      const p =
        state[at]! * (1 - lr! * rate * decay) - (lr! * rate * (m / bias1!)) / (Math.sqrt(v / bias2!) + eps);
      out[at] = p;
      out[size + at] = m;
      out[2 * size + at] = v;
      out[3 * size + at] = average! * state[3 * size + at]! + (1 - average!) * p;
    }
  }
  return out;
}

const options = { betas: [0.9, 0.999], eps: 1e-8, clip: 0 } as const;

async function steps(groups: readonly ParameterGroup[], given: AdamWOptions, count: number) {
  const size = groups.reduce((sum, { length }) => sum + length, 0);
  const initial = random(4 * size, 1).map((x, i) => (i >= 2 * size && i < 3 * size ? x * x : x));
  const state = device.tensor([4, size], 'f32', initial);
  const gradient = device.tensor([size], 'f32', random(size, 2, 3));
  const step = device.tensor([5], 'f32', new Float32Array([0.01, 0.1, 0.001, 2, 0.75]));
  const compiled = await program(device, { state, gradient, step }, (graph, v) => ({
    state: adamw(graph, v.state!, v.gradient!, v.step!, groups, given),
  }));
  let expected: Float64Array = Float64Array.from(initial);
  for (let i = 0; i < count; i++) {
    expected = reference(
      Float32Array.from(expected),
      (await gradient.data()) as Float32Array,
      [...(await step.data())],
      groups,
      given,
    );
    // The state is replaced where it is.
    await compiled.run({ state, gradient, step }, { into: { state }, inPlace: true });
  }
  return { actual: (await state.data()) as Float32Array, expected };
}

/** Largest difference, relative for values above 0.1: parameters and moments are of order 1. */
const largestError = (actual: Float32Array, expected: Float64Array) =>
  actual.reduce(
    (most, x, i) => Math.max(most, Math.abs(x - expected[i]!) / (0.1 + Math.abs(expected[i]!))),
    0,
  );

describe('adamw', () => {
  it.each([
    ['one group', [{ length: 37, rate: 1, decay: 0.05 }], options],
    [
      'groups of any length',
      [1, 2, 16, 0, 33].map((length, i) => ({ length, rate: 0.9 ** i, decay: i % 2 })),
      options,
    ],
    ['a clipped gradient', [{ length: 100, rate: 1, decay: 0 }], { ...options, clip: 0.5 }],
    ['a gradient too short to clip', [{ length: 100, rate: 1, decay: 0 }], { ...options, clip: 1e4 }],
    ['more than one task', [{ length: 40_000, rate: 1, decay: 0.05 }], { ...options, clip: 1 }],
  ])('follows its definition: %s', async (_, groups, given) => {
    const { actual, expected } = await steps(groups, given as AdamWOptions, 3);
    expect(largestError(actual, expected)).toBeLessThan(2e-6);
  });

  it('refuses groups that do not cover the parameters', async () => {
    await expect(
      steps([{ length: 3, rate: 1, decay: 0 }], options, 0).then(async () => {
        const state = device.tensor([4, 5]);
        const gradient = device.tensor([5]);
        const step = device.tensor([5]);
        return program(device, { state, gradient, step }, (graph, v) => ({
          state: adamw(graph, v.state!, v.gradient!, v.step!, [{ length: 4, rate: 1, decay: 0 }], options),
        }));
      }),
    ).rejects.toMatchObject({ code: 'ERR_SHAPE' });
  });
});
