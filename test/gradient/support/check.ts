import { expect } from 'vitest';
import { compile } from '../../../lib/graph/compile.js';
import { gradients } from '../../../lib/graph/gradient.js';
import { Graph, type Value } from '../../../lib/graph/graph.js';
import type { DType } from '../../../lib/runtime/dtype.js';
import type { Program, Tensors } from '../../../lib/runtime/program.js';
import { expectWithin } from '../../support/compare.js';
import { generate, type HostTensor } from '../../support/reference.js';
import { device, download, type HostValues, upload } from '../../support/run.js';

export type BuildOne = (graph: Graph, values: Record<string, Value>) => Value;

export interface Backward {
  y: HostTensor;
  /** By input; absent where y does not depend on it. */
  gradients: HostValues;
}

const nothing = { find: () => undefined };

/** Values of these shapes, uniform in [−scale, scale] around `offset`, one name one tensor. */
export const values = (name: string, shape: number[], scale = 1, offset = 0): HostTensor =>
  generate({ name: `gradient/${name}`, shape, scale, offset });

const seedLike = (shape: readonly number[]): HostTensor => values('seed', [...shape]);

/** A forward pass on inputs like these; with `wrt`, also the gradients of ⟨seed, y⟩. */
async function program(
  inputs: HostValues,
  build: BuildOne,
  wrt: readonly string[],
  dtypes: Record<string, DType> = {},
): Promise<{ program: Program; shape: readonly number[] }> {
  const graph = new Graph({ differentiable: true });
  const placed = Object.fromEntries(
    Object.entries(inputs).map(([name, { shape }]) => [name, graph.input(name, shape, dtypes[name])]),
  );
  const y = build(graph, placed);
  graph.output('y', y);
  if (wrt.length > 0) {
    const seeds = new Map([[y, graph.input('seed', y.shape)]]);
    const found = gradients(
      graph,
      seeds,
      wrt.map((name) => placed[name]!),
    );
    wrt.forEach((name, i) => {
      if (found[i]) graph.output(`grad.${name}`, found[i]);
    });
  }
  return { program: await compile(graph, device, nothing), shape: y.shape };
}

async function runOn(compiled: Program, inputs: HostValues, dtypes: Record<string, DType> = {}) {
  const tensors: Tensors = {};
  for (const [name, value] of Object.entries(inputs)) tensors[name] = upload(value, dtypes[name]);
  const outputs = await compiled.run(tensors);
  const host: HostValues = {};
  for (const [name, tensor] of Object.entries(outputs)) host[name] = await download(tensor);
  for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) tensor.dispose();
  return host;
}

/** y and the gradients of ⟨seed, y⟩ with respect to `wrt`. */
export async function backward(
  inputs: HostValues,
  build: BuildOne,
  { wrt = Object.keys(inputs), dtypes }: { wrt?: readonly string[]; dtypes?: Record<string, DType> } = {},
): Promise<Backward> {
  const made = await program(inputs, build, wrt, dtypes);
  using compiled = made.program;
  const { y, ...rest } = await runOn(compiled, { ...inputs, seed: seedLike(made.shape) }, dtypes);
  const found = Object.entries(rest).map(([name, value]) => [name.slice('grad.'.length), value]);
  return { y: y!, gradients: Object.fromEntries(found) };
}

const inner = (a: Float32Array, b: Float32Array): number =>
  a.reduce((sum, value, i) => sum + value * b[i]!, 0);

/** d⟨seed, y⟩ of every element of one input: central differences of fourth order. */
async function differences(
  compiled: Program,
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
    const { y } = await runOn(compiled, { ...inputs, [name]: { shape, data: moved } });
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
  /** Of the differences: a power of two. Large where y is linear in each input, as it is mostly. */
  step?: number;
  relL2?: number;
}

/** The gradients of ⟨seed, y⟩, each element against central differences of the forward pass. */
export async function checkGradients(
  inputs: HostValues,
  build: BuildOne,
  { wrt = Object.keys(inputs), step = 1 / 4, relL2 = 1e-5 }: CheckOptions = {},
): Promise<void> {
  const { y, gradients: found } = await backward(inputs, build, { wrt });
  const { program: compiled } = await program(inputs, build, []);
  using forward = compiled;
  for (const name of wrt) {
    expect(found, 'gradients').toHaveProperty([name]);
    expect(found[name]!.shape, `shape of the gradient of ${name}`).toEqual(inputs[name]!.shape);
    const expected = await differences(forward, inputs, name, seedLike(y.shape), step);
    expectWithin(found[name]!.data, expected, { relL2 }, `gradient of ${name}`);
  }
}
