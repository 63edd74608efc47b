import { describe } from 'vitest';
import { compile } from '../../lib/graph/compile.js';
import { gradients } from '../../lib/graph/gradient.js';
import { Graph, type Value } from '../../lib/graph/graph.js';
import type { Tensors } from '../../lib/runtime/program.js';
import { expectClose } from './compare.js';
import { fixture, type HostTensor, HostTensors, type OpCase, readJson } from './reference.js';
import { device, download, type HostValues, upload, WeightsOnDevice } from './run.js';

const INDEX = 'grads/grads.json';

/** `describe` over the cases of one file of the reference's gradients; without them, one line says what was left out. */
export function describeGradients(file: string, body: (cases: OpCase[], tensors: HostTensors) => void): void {
  const name = `gradients of the reference, ${file}`;
  if (fixture(INDEX) === undefined) {
    process.stderr.write(`left out: ${name} (needs the complete reference in ../shared/reference)\n`);
    describe.skip(name, () => {});
    return;
  }
  describe(name, async () =>
    body(readJson(INDEX)[file].cases, await HostTensors.load(`grads/${file}.safetensors`)),
  );
}

export interface PullBack {
  inputs: HostValues;
  /** Constants of the graph by name. */
  weights?: HostValues;
  seed: HostTensor;
}

/** y, and by name the gradients of ⟨seed, y⟩ with respect to all inputs and constants. */
export async function pullBack(
  { inputs, weights = {}, seed }: PullBack,
  build: (graph: Graph, inputs: Record<string, Value>) => Value,
): Promise<{ y: HostTensor; gradients: HostValues }> {
  const graph = new Graph({ differentiable: true });
  const placed = Object.entries(inputs).map(([name, { shape }]) => [name, graph.input(name, shape)] as const);
  const y = build(graph, Object.fromEntries(placed));
  graph.output('y', y);
  const wrt = [...graph.inputs, ...graph.constants];
  const found = gradients(
    graph,
    new Map([[y, graph.input('seed', y.shape)]]),
    wrt.map(([, value]) => value),
  );
  wrt.forEach(([name], i) => {
    if (found[i]) graph.output(`grad.${name}`, found[i]);
  });
  const placedWeights = new WeightsOnDevice(Object.entries(weights), device);
  using program = await compile(graph, device, placedWeights);
  const tensors: Tensors = { seed: upload(seed) };
  for (const [name, value] of Object.entries(inputs)) tensors[name] = upload(value);
  const outputs = await program.run(tensors);
  const results: HostValues = {};
  for (const [name, tensor] of Object.entries(outputs)) results[name] = await download(tensor);
  for (const tensor of [...Object.values(tensors), ...Object.values(outputs)]) tensor.dispose();
  placedWeights.dispose();
  const { y: result, ...rest } = results;
  const byName = Object.entries(rest).map(([name, value]) => [name.slice('grad.'.length), value]);
  return { y: result!, gradients: Object.fromEntries(byName) };
}

/** A gradient against the reference's, within what its case allows. */
export function expectGradient(
  { name, fp32_vs_fp64 }: OpCase,
  tensors: HostTensors,
  of: string,
  actual: HostTensor | undefined,
): void {
  const output = `grad.${of}`;
  const expected = tensors.get(`${name}/${output}`).data;
  expectClose(actual?.data ?? [], expected, fp32_vs_fp64[output]!, output);
}
