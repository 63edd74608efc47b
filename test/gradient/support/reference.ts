import { describe, expect } from 'vitest';
import { difference, expectClose, type Noise } from '../../support/compare.js';
import { fixture, type HostTensor, HostTensors, type OpCase, readJson } from '../../support/reference.js';
import { host } from '../../support/run.js';

/** `describe` over the cases of one file of the reference's gradients; without it, one line says what was left out. */
export function describeGradients(file: string, body: (cases: OpCase[], tensors: HostTensors) => void): void {
  const name = `gradients of the reference, ${file}`;
  const path = `grads/${file}.safetensors`;
  if (fixture(path) === undefined) {
    process.stderr.write(`left out: ${name} (needs the complete reference in ../shared/reference)\n`);
    describe.skip(name, () => {});
    return;
  }
  describe(name, async () => body(readJson('grads/grads.json')[file].cases, await HostTensors.load(path)));
}

/** Ones, to differentiate the sum of all elements. */
export const ones = (shape: readonly number[]): HostTensor =>
  host(shape, new Float32Array(shape.reduce((product, size) => product * size, 1)).fill(1));

/** Below this the reference's values are zeros, but for the rounding of their sums. */
const ZERO = 1e-12;

/** One gradient against expected values; an absent one is zero. */
export function compareGradient(
  actual: HostTensor | undefined,
  expected: HostTensor,
  noise: Noise & { max_abs?: number },
  name: string,
): void {
  const data = actual?.data ?? new Float32Array(expected.data.length);
  if (expected.data.some((value) => Math.abs(value) > ZERO)) {
    expectClose(data, expected.data, noise, name);
    return;
  }
  const { maxAbs, nonFinite } = difference(data, expected.data);
  expect(nonFinite, `${name}: NaN or infinite`).toBe(0);
  expect(maxAbs, name).toBeLessThanOrEqual(10 * noise.max_abs!);
}

/** The gradient of `of` against the case's `grad.<of>`. */
export function expectGradient(
  { name, fp32_vs_fp64 }: OpCase,
  tensors: HostTensors,
  of: string,
  actual: HostTensor | undefined,
): void {
  const output = `grad.${of}`;
  compareGradient(actual, tensors.get(`${name}/${output}`), fp32_vs_fp64[output]!, output);
}

/** All gradients that a case states, found under the names that `rename` gives. */
export function expectGradients(
  each: OpCase,
  tensors: HostTensors,
  found: Record<string, HostTensor>,
  rename: (name: string) => string = (name) => name,
): void {
  const stated = each.outputs.filter((output) => output.startsWith('grad.'));
  expect(stated.length).toBeGreaterThan(0);
  for (const output of stated) {
    const name = output.slice('grad.'.length);
    expectGradient(each, tensors, name, found[rename(name)]);
  }
}
