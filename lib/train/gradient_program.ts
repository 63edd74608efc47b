import { HrsamError } from '../errors.js';
import { type ConstantSource, compile } from '../graph/compile.js';
import { type GradientOptions, gradients } from '../graph/gradient.js';
import { Graph, type GraphOptions, type Value } from '../graph/graph.js';
import { crossing, supply } from '../graph/split.js';
import type { Device } from '../runtime/device.js';
import type { Program } from '../runtime/program.js';
import type { ParameterLayout } from './layout.js';

/**
 * Builds the forward pass: losses of the samples (B), and values that a run returns besides. Where the caller wants to
 * see `embedding` before it gives the inputs of what follows, the pass can be run in two halves.
 */
export type Loss = (graph: Graph) => { loss: Value; outputs?: Record<string, Value>; embedding?: Value };

/** `dropPath`: another input, `branch_scales` (branches, B), says what residual branches count (lib/model/drop_path.ts). */
export type TrainingGraphOptions = GradientOptions & Pick<GraphOptions, 'dropPath'>;

/**
 * Forward and backward in one program. Inputs: what `build` declares, `state` (4, P), `accumulated` (P) and `weights`
 * (B), what each sample's loss counts. Outputs: `loss` (B), `gradient` (P) = accumulated + that of Σ weights·loss.
 */
export async function gradientProgram(
  device: Device,
  layout: ParameterLayout,
  build: Loss,
  frozen: ConstantSource = { find: () => undefined },
  options: TrainingGraphOptions = {},
): Promise<Program> {
  const { graph } = gradientGraph(layout, build, options);
  return compile(graph, device, frozen);
}

/**
 * The same in two programs. The first one's outputs are `embedding` and whatever else the second one needs of it: all of
 * them are inputs of the second, besides what `build` declares for what follows the embedding.
 */
export async function gradientHalf(
  half: 'first' | 'second',
  device: Device,
  layout: ParameterLayout,
  build: Loss,
  frozen: ConstantSource = { find: () => undefined },
  options: TrainingGraphOptions = {},
): Promise<Program> {
  const { graph, embedding } = gradientGraph(layout, build, options);
  if (!embedding) throw new HrsamError('ERR_INTERNAL', 'a loss without an embedding has no halves');
  const kept = crossing(graph, [embedding], [...graph.outputs.values()]);
  const names = kept.map((value, i) => (value === embedding ? 'embedding' : `kept${i}`));
  if (half === 'first') {
    graph.outputs.clear();
    kept.forEach((value, i) => {
      graph.output(names[i]!, value);
    });
  } else {
    kept.forEach((value, i) => {
      supply(graph, value, names[i]!);
    });
  }
  return compile(graph, device, frozen);
}

function gradientGraph(
  layout: ParameterLayout,
  build: Loss,
  { dropPath, recompute }: TrainingGraphOptions,
): { graph: Graph; embedding?: Value } {
  const graph = new Graph({ differentiable: true, dropPath });
  const state = graph.input('state', layout.stateShape);
  const accumulated = graph.input('accumulated', [layout.size]);
  const parameters = layout.bind(graph, state);
  const { loss, outputs = {}, embedding } = build(graph);
  const weights = graph.input('weights', loss.shape);
  const derived = gradients(graph, new Map([[loss, weights]]), parameters, { recompute });
  graph.output('loss', loss);
  graph.output('gradient', layout.accumulate(graph, accumulated, derived));
  for (const [name, value] of Object.entries(outputs)) graph.output(name, value);
  return { graph, embedding };
}

/** A forward pass over the parameters of `state` (4, P), as they are at the time of a run. */
export async function forwardProgram(
  device: Device,
  layout: ParameterLayout,
  build: (graph: Graph) => Record<string, Value>,
  frozen: ConstantSource = { find: () => undefined },
): Promise<Program> {
  const graph = new Graph();
  layout.bind(graph, graph.input('state', layout.stateShape));
  for (const [name, value] of Object.entries(build(graph))) graph.output(name, value);
  return compile(graph, device, frozen);
}
