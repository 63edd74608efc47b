import { HrsamError } from '../errors.js';
import { optionsOf } from '../options.js';
import type { Device } from '../runtime/device.js';
import type { Program, Tensors } from '../runtime/program.js';
import type { Tensor } from '../runtime/tensor.js';
import { type ConstantSource, compile } from './compile.js';
import { Graph, type Value } from './graph.js';

/** Builds values from the values that stand for the given tensors. */
export type Build = (graph: Graph, values: Record<string, Value>) => Record<string, Value>;

export interface EvaluateOptions {
  /** Tensors that are known when compiling: weights are packed once. They come to `build` like the inputs. */
  constants?: Tensors;
  signal?: AbortSignal;
}

const checkNames = optionsOf<EvaluateOptions>({ constants: true, signal: true });

function checkOptions(options: EvaluateOptions, where: string): void {
  checkNames(options, where);
  const { constants = {} } = options;
  if (typeof constants !== 'object' || constants === null)
    throw new HrsamError('ERR_ARGUMENT', 'constants', {
      where,
      expected: 'tensors by name',
      actual: constants,
    });
}

const asSource = (constants: Tensors): ConstantSource => ({
  find: (name) => {
    const tensor = constants[name];
    return tensor && { buffer: tensor.buffer, offset: 0, shape: tensor.shape, dtype: tensor.dtype };
  },
});

/** Compiles a few ops for inputs like these; the program can be run with any tensors of the same shapes. */
export async function program(
  device: Device,
  inputs: Record<string, Pick<Tensor, 'shape' | 'dtype'>>,
  build: Build,
  options: EvaluateOptions = {},
): Promise<Program> {
  checkOptions(options, 'program');
  if (typeof build !== 'function')
    throw new HrsamError('ERR_ARGUMENT', 'build', { expected: 'a function', actual: build });
  const { constants = {}, signal } = options;
  const graph = new Graph();
  const values: Record<string, Value> = {};
  for (const [name, { shape, dtype }] of Object.entries(inputs))
    values[name] = graph.input(name, shape, dtype);
  for (const [name, { shape, dtype }] of Object.entries(constants))
    values[name] = graph.constant(name, shape, dtype);
  const built: unknown = build(graph, values);
  if (typeof built !== 'object' || built === null || 'then' in built)
    throw new HrsamError('ERR_ARGUMENT', 'what build returns', { expected: 'an object of values, at once' });
  for (const [name, value] of Object.entries(built)) graph.output(name, value);
  return compile(graph, device, asSource(constants), { signal });
}

/** Runs a few ops once: `evaluate({ x }, (graph, { x }) => ({ y: ops.activation(graph, x, 'gelu') }))`. */
export async function evaluate(
  inputs: Tensors,
  build: Build,
  options: EvaluateOptions = {},
): Promise<Tensors> {
  checkOptions(options, 'evaluate');
  const device = firstDevice(inputs, options.constants);
  const compiled = await program(device, inputs, build, options);
  try {
    return await compiled.run(inputs, { signal: options.signal });
  } finally {
    compiled.dispose();
  }
}

function firstDevice(...groups: (Tensors | undefined)[]): Device {
  const tensor = groups.flatMap((group) => Object.values(group ?? {}))[0] as Tensor | undefined;
  if (!tensor) throw new HrsamError('ERR_ARGUMENT', 'evaluate needs at least one tensor');
  return tensor.device;
}
