import { HrsamError } from '../errors.js';
import { optionsOf } from '../options.js';
import { Device } from '../runtime/device.js';
import type { Program, Tensors } from '../runtime/program.js';
import { Tensor } from '../runtime/tensor.js';
import { type ConstantSource, compile } from './compile.js';
import { Graph, type Value } from './graph.js';

/** Builds values, by the names of the outputs, from those that stand for the given tensors. */
export type Build<In = Tensors, Out extends Record<string, Value> = Record<string, Value>> = (
  graph: Graph,
  values: { [name in keyof In]: Value },
) => Out;

/** Without any. */
type None = Record<never, Tensor>;

/** Options of `evaluate` and `program`. */
export interface EvaluateOptions<Constants extends Tensors = Tensors> {
  /**
   * Tensors that are known when compiling. They come to `build` like the inputs, under names of their own. They must not
   * be written to while the program is used: some are packed once, others read in each run.
   */
  constants?: Constants;
  /** Ends the work with ERR_ABORTED while it is queued or between two layers. */
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

/**
 * Compiles a few ops for inputs like these; the program can be run with any tensors of the same shapes.
 * @throws HrsamError ERR_SHAPE, ERR_ARGUMENT for what does not fit together, ERR_DEVICE for constants of another device, ERR_OUT_OF_MEMORY, ERR_ABORTED
 */
export async function program<
  In extends Record<string, Pick<Tensor, 'shape' | 'dtype'>>,
  Constants extends Tensors = None,
>(
  device: Device,
  inputs: In,
  build: Build<In & Constants>,
  options: EvaluateOptions<Constants> = {},
): Promise<Program> {
  checkOptions(options, 'program');
  if (!(device instanceof Device))
    throw new HrsamError('ERR_ARGUMENT', 'device', { expected: 'a Device', actual: device });
  if (typeof build !== 'function')
    throw new HrsamError('ERR_ARGUMENT', 'build', { expected: 'a function', actual: build });
  const { signal } = options;
  const constants: Tensors = options.constants ?? {};
  const graph = new Graph();
  const values: Record<string, Value> = {};
  for (const [where, tensors] of Object.entries({ inputs, constants }))
    if (Object.values(tensors ?? [null]).some((tensor) => typeof tensor !== 'object' || tensor === null))
      throw new HrsamError('ERR_ARGUMENT', where, { expected: 'tensors by name' });
  const twice = Object.keys(constants).find((name) => Object.hasOwn(inputs, name));
  if (twice !== undefined)
    throw new HrsamError('ERR_ARGUMENT', 'constants', {
      expected: 'other names than those of inputs',
      actual: twice,
    });
  for (const [name, { shape, dtype }] of Object.entries(inputs))
    values[name] = graph.input(name, shape, dtype);
  for (const [name, tensor] of Object.entries(constants)) {
    if (!(tensor instanceof Tensor))
      throw new HrsamError('ERR_ARGUMENT', `constant '${name}'`, { expected: 'a Tensor', actual: tensor });
    device.expectOwn(tensor, `constant '${name}'`);
    values[name] = graph.constant(name, tensor.shape, tensor.dtype);
  }
  const built: unknown = build(graph, values as Parameters<typeof build>[1]);
  if (typeof built !== 'object' || built === null || 'then' in built)
    throw new HrsamError('ERR_ARGUMENT', 'what build returns', { expected: 'an object of values, at once' });
  for (const [name, value] of Object.entries(built)) graph.output(name, value);
  return compile(graph, device, asSource(constants), { signal });
}

/**
 * Runs a few ops once: `evaluate({ x }, (graph, { x }) => ({ y: ops.activation(graph, x, 'gelu') }))`.
 * @returns the outputs by the names that `build` gave them
 * @throws HrsamError as `program` and its `run`
 */
export async function evaluate<
  In extends Tensors,
  Out extends Record<string, Value>,
  Constants extends Tensors = None,
>(
  inputs: In,
  build: Build<In & Constants, Out>,
  options: EvaluateOptions<Constants> = {},
): Promise<{ [name in keyof Out]: Tensor }> {
  checkOptions(options, 'evaluate');
  const device = firstDevice(inputs, options.constants);
  const compiled = await program(device, inputs, build, options);
  try {
    return (await compiled.run(inputs, { signal: options.signal })) as { [name in keyof Out]: Tensor };
  } finally {
    compiled.dispose();
  }
}

function firstDevice(...groups: (Tensors | undefined)[]): Device {
  const tensor = groups.flatMap((group) => Object.values(group ?? {}))[0] as Tensor | undefined;
  if (!tensor) throw new HrsamError('ERR_ARGUMENT', 'evaluate needs at least one tensor');
  return tensor.device;
}
