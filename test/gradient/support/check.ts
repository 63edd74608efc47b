import { expect } from 'vitest';
import type { Graph, Value } from '../../../lib/graph/graph.js';
import type { DType } from '../../../lib/runtime/dtype.js';
import type { Program } from '../../../lib/runtime/program.js';
import { expectWithin } from '../../support/compare.js';
import { generate, type HostTensor } from '../../support/reference.js';
import type { HostValues } from '../../support/run.js';
import { differentiate, differentiated, runOn } from './backward.js';

export type BuildOne = (graph: Graph, values: Record<string, Value>) => Value;

/** Values of this shape, uniform in [−scale, scale] around `offset`; one name, one tensor. */
export const values = (name: string, shape: readonly number[], scale = 1, offset = 0): HostTensor =>
  generate({ name: `gradient/${name}`, shape: [...shape], scale, offset });

export interface OneBackward {
  y: HostTensor;
  /** By input; absent where y does not depend on it. */
  gradients: HostValues;
}

/** A single result y and the gradients of ⟨values('seed'), y⟩ with respect to `wrt`, by default all inputs. */
export async function backward(
  inputs: HostValues,
  build: BuildOne,
  options: { wrt?: readonly string[]; dtypes?: Record<string, DType> } = {},
): Promise<OneBackward> {
  const buildY = (...args: Parameters<BuildOne>) => ({ y: build(...args) });
  using forward = await differentiated(inputs, buildY, { ...options, wrt: [] });
  const { y } = await runOn(forward, inputs, options.dtypes);
  const seeds = { y: values('seed', y!.shape) };
  const { gradients } = await differentiate(inputs, buildY, { ...options, seeds });
  return { y: y!, gradients };
}

const inner = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** d⟨seed, y⟩ of every element of one input: central differences of fourth order. */
async function differences(
  forward: Program,
  inputs: HostValues,
  name: string,
  seed: HostTensor,
  step: number,
): Promise<Float64Array> {
  const { shape, data } = inputs[name]!;
  const out = new Float64Array(data.length);
  const at = async (i: number, by: number) => {
    const moved = Float32Array.from(data);
    moved[i]! += by;
    const { y } = await runOn(forward, { ...inputs, [name]: { shape, data: moved } });
    return inner(y!.data, seed.data);
  };
  for (let i = 0; i < data.length; i++) {
    const near = (await at(i, step)) - (await at(i, -step));
    const far = (await at(i, 2 * step)) - (await at(i, -2 * step));
    out[i] = (8 * near - far) / (12 * step);
  }
  return out;
}

export interface CheckOptions {
  /** Inputs to differentiate by; default: all. */
  wrt?: readonly string[];
  /** Of the differences: a power of two. Large where y is a polynomial of each input, as it mostly is. */
  step?: number;
  relL2?: number;
}

/** The gradients of ⟨seed, y⟩, each element against central differences of the forward pass. */
export async function checkGradients(
  inputs: HostValues,
  build: BuildOne,
  { wrt = Object.keys(inputs), step = 1 / 4, relL2 = 1e-5 }: CheckOptions = {},
): Promise<void> {
  const { y, gradients } = await backward(inputs, build, { wrt });
  using forward = await differentiated(inputs, (...args) => ({ y: build(...args) }), { wrt: [] });
  const seed = values('seed', y.shape);
  for (const name of wrt) {
    const found = gradients[name] ?? expect.fail(`no gradient of ${name}`);
    expect(found.shape, `shape of the gradient of ${name}`).toEqual(inputs[name]!.shape);
    const expected = await differences(forward, inputs, name, seed, step);
    expectWithin(found.data, expected, { relL2 }, `gradient of ${name}`);
  }
}
