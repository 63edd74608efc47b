import { type ConstantSource, compile } from '../graph/compile.js';
import { program } from '../graph/evaluate.js';
import { gradients } from '../graph/gradient.js';
import { Graph, type Value } from '../graph/graph.js';
import { type AdamWOptions, adamw, type ParameterGroup } from '../graph/ops/adamw.js';
import type { Device } from '../runtime/device.js';
import type { Program } from '../runtime/program.js';
import type { ParameterLayout } from './layout.js';

/** Builds the forward pass: losses of the samples (B), and values that a run returns besides. */
export type Loss = (graph: Graph) => { loss: Value; outputs?: Record<string, Value> };

/**
 * Forward and backward in one program. Inputs: what `build` declares, `state` (4, P), `accumulated` (P) and `weights`
 * (B), what each sample's loss counts. Outputs: `loss` (B), `gradient` (P) = accumulated + that of Σ weights·loss.
 */
export async function gradientProgram(
  device: Device,
  layout: ParameterLayout,
  build: Loss,
  frozen: ConstantSource = { find: () => undefined },
): Promise<Program> {
  const graph = new Graph({ differentiable: true });
  const state = graph.input('state', [4, layout.size]);
  const accumulated = graph.input('accumulated', [layout.size]);
  const parameters = layout.bind(graph, state);
  const { loss, outputs = {} } = build(graph);
  const weights = graph.input('weights', loss.shape);
  const derived = gradients(graph, new Map([[loss, weights]]), parameters);
  graph.output('loss', loss);
  graph.output('gradient', layout.accumulate(graph, accumulated, derived));
  for (const [name, value] of Object.entries(outputs)) graph.output(name, value);
  return compile(graph, device, frozen);
}

/** A forward pass over the parameters of `state` (4, P), as they are at the time of a run. */
export async function forwardProgram(
  device: Device,
  layout: ParameterLayout,
  build: (graph: Graph) => Record<string, Value>,
  frozen: ConstantSource = { find: () => undefined },
): Promise<Program> {
  const graph = new Graph();
  layout.bind(graph, graph.input('state', [4, layout.size]));
  for (const [name, value] of Object.entries(build(graph))) graph.output(name, value);
  return compile(graph, device, frozen);
}

/** One step of AdamW: inputs and output as those of the op `adamw`; run it into the state itself. */
export function updateProgram(
  device: Device,
  layout: ParameterLayout,
  groups: readonly ParameterGroup[],
  options: AdamWOptions,
): Promise<Program> {
  const f32 = (...shape: number[]) => ({ shape, dtype: 'f32' }) as const;
  const inputs = { state: f32(4, layout.size), gradient: f32(layout.size), step: f32(5) };
  return program(device, inputs, (graph, v) => ({
    state: adamw(graph, v.state!, v.gradient!, v.step!, groups, options),
  }));
}
