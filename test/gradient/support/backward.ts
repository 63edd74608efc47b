import { compile } from '../../../lib/graph/compile.js';
import { gradients } from '../../../lib/graph/gradient.js';
import { Graph, type Value } from '../../../lib/graph/graph.js';
import type { DType } from '../../../lib/runtime/dtype.js';
import type { Program, Tensors } from '../../../lib/runtime/program.js';
import { device, download, type HostValues, upload } from '../../support/run.js';

export type Build = (graph: Graph, values: Record<string, Value>) => Record<string, Value | undefined>;

export interface BackwardOptions {
  /** Inputs that the graph asks for as constants of these names: they can be differentiated, too. */
  weights?: HostValues;
  /** What the gradients start from, by output: d Σ ⟨seed, output⟩. */
  seeds?: HostValues;
  /** Inputs and weights to differentiate by; default: all. */
  wrt?: readonly string[];
  /** Types of inputs that are not f32. */
  dtypes?: Record<string, DType>;
}

export interface Backward {
  outputs: HostValues;
  /** By input or weight; absent where no seed depends on it. */
  gradients: HostValues;
}

const GRADIENT = 'gradient of ';

/** A differentiable graph whose inputs and weights are inputs of the program, the gradients among its outputs. */
export async function differentiated(
  inputs: HostValues,
  build: Build,
  { weights = {}, seeds = {}, wrt, dtypes = {} }: BackwardOptions,
): Promise<Program> {
  const graph = new Graph({ differentiable: true });
  const placed: Record<string, Value> = {};
  for (const [name, { shape }] of Object.entries({ ...inputs, ...weights })) {
    placed[name] = graph.input(name, shape, dtypes[name]);
    if (name in weights) graph.constants.set(name, placed[name]);
  }
  const outputs = build(graph, placed);
  for (const [name, value] of Object.entries(outputs)) if (value) graph.output(name, value);
  const seeded = Object.entries(seeds).map(
    ([name, { shape }]) => [outputs[name]!, graph.input(`seed of ${name}`, shape)] as const,
  );
  const asked = wrt ?? Object.keys(placed);
  const found = gradients(
    graph,
    new Map(seeded),
    asked.map((name) => placed[name]!),
  );
  asked.forEach((name, i) => {
    if (found[i]) graph.output(GRADIENT + name, found[i]);
  });
  return compile(graph, device, { find: () => undefined });
}

/** One run of a program: inputs and outputs on the host. */
export async function runOn(
  program: Program,
  inputs: HostValues,
  dtypes: Record<string, DType> = {},
): Promise<HostValues> {
  const tensors: Tensors = {};
  for (const [name, value] of Object.entries(inputs)) tensors[name] = upload(value, dtypes[name]);
  const outputs = await program.run(tensors);
  const host: HostValues = {};
  for (const [name, tensor] of Object.entries(outputs)) host[name] = await download(tensor);
  for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) tensor.dispose();
  return host;
}

/** Runs what `build` adds to a graph, forwards and backwards. */
export async function differentiate(
  inputs: HostValues,
  build: Build,
  options: BackwardOptions = {},
): Promise<Backward> {
  using program = await differentiated(inputs, build, options);
  const { weights, seeds = {}, dtypes } = options;
  const given = Object.entries(seeds).map(([name, seed]) => [`seed of ${name}`, seed]);
  const results = await runOn(program, { ...inputs, ...weights, ...Object.fromEntries(given) }, dtypes);
  const found: Backward = { outputs: {}, gradients: {} };
  for (const [name, value] of Object.entries(results)) {
    if (name.startsWith(GRADIENT)) found.gradients[name.slice(GRADIENT.length)] = value;
    else found.outputs[name] = value;
  }
  return found;
}
