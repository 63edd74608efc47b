import { compile } from '../../lib/graph/compile.js';
import { type Build, evaluate } from '../../lib/graph/evaluate.js';
import { Graph } from '../../lib/graph/graph.js';
import { Device } from '../../lib/runtime/device.js';
import type { DType } from '../../lib/runtime/dtype.js';
import type { Tensors } from '../../lib/runtime/program.js';
import type { Tensor } from '../../lib/runtime/tensor.js';
import { bf16Bits } from '../../lib/weights/dtypes.js';
import type { HostTensor } from './reference.js';

export type HostValues = Record<string, HostTensor>;

/** The device under test: HRSAM_TEST_DEVICE, else the CPU. */
export const device = Device.open(process.env.HRSAM_TEST_DEVICE ?? 'cpu');

export const host = (shape: readonly number[], data: ArrayLike<number>): HostTensor => ({
  shape,
  data: Float32Array.from(data),
});

export const toBf16 = (data: Float32Array): Uint16Array => Uint16Array.from(data, bf16Bits);

/** What a value is after it was stored as bf16. */
export function roundedToBf16({ shape, data }: HostTensor): HostTensor {
  const bits = Uint32Array.from(data, (x) => bf16Bits(x) << 16);
  return { shape, data: new Float32Array(bits.buffer) };
}

export function upload({ shape, data }: HostTensor, dtype: DType = 'f32', on = device): Tensor {
  switch (dtype) {
    case 'f32':
      return on.tensor(shape, dtype, data);
    case 'bf16':
      return on.tensor(shape, dtype, toBf16(data));
    case 'i32':
      return on.tensor(shape, dtype, Int32Array.from(data));
    case 'u8':
      return on.tensor(shape, dtype, Uint8Array.from(data));
  }
}

export async function download(tensor: Tensor): Promise<HostTensor> {
  const data = await tensor.data();
  const { shape } = tensor;
  if (tensor.dtype === 'bf16')
    return { shape, data: new Float32Array(Uint32Array.from(data, (x) => x << 16).buffer) };
  return { shape, data: Float32Array.from(data) };
}

export interface RunOptions {
  /** Weights: known when compiling. */
  constants?: HostValues;
  /** Type of every input that `dtypes` does not name. */
  dtype?: DType;
  dtypes?: Record<string, DType>;
  on?: Device;
}

/** Runs what `build` adds to a graph on host values: all outputs, as f32. */
export async function run(inputs: HostValues, build: Build, options: RunOptions = {}): Promise<HostValues> {
  const { constants = {}, dtype = 'f32', dtypes = {}, on = device } = options;
  const place = (values: HostValues, type: DType): Tensors =>
    Object.fromEntries(
      Object.entries(values).map(([name, value]) => [name, upload(value, dtypes[name] ?? type, on)]),
    );
  const given = { inputs: place(inputs, dtype), constants: place(constants, 'f32') };
  const outputs = await evaluate(given.inputs, build, { constants: given.constants });
  return finish(outputs, [given.inputs, given.constants]);
}

async function finish(outputs: Tensors, others: Tensors[]): Promise<HostValues> {
  const values: HostValues = {};
  for (const [name, tensor] of Object.entries(outputs)) values[name] = await download(tensor);
  for (const tensors of [outputs, ...others]) for (const tensor of Object.values(tensors)) tensor.dispose();
  return values;
}

/** Like `run` for a single result. */
export async function runOne(
  inputs: HostValues,
  build: (...args: Parameters<Build>) => ReturnType<Build>[string],
  options?: RunOptions,
): Promise<HostTensor> {
  const { y } = await run(inputs, (graph, values) => ({ y: build(graph, values) }), options);
  return y!;
}

export interface TraceOptions extends RunOptions {
  /** Marks of the graph to return besides its outputs. */
  trace?: readonly string[];
}

/** Like `run`, with weights found by name and the marks in `trace`, as a model is run. */
export async function runModel(
  inputs: HostValues,
  weights: WeightsOnDevice,
  build: Build,
  options: TraceOptions = {},
): Promise<HostValues> {
  const { dtypes = {}, trace } = options;
  const graph = new Graph();
  const tensors: Tensors = {};
  const values: Parameters<Build>[1] = {};
  for (const [name, value] of Object.entries(inputs)) {
    tensors[name] = upload(value, dtypes[name], weights.device);
    values[name] = graph.input(name, value.shape, dtypes[name]);
  }
  for (const [name, value] of Object.entries(build(graph, values))) graph.output(name, value);
  using program = await compile(graph, weights.device, weights, { trace });
  return finish(await program.run(tensors), [tensors]);
}

/** Weights by name on a device, uploaded once for many runs. */
export class WeightsOnDevice {
  readonly #tensors = new Map<string, Tensor>();

  constructor(
    weights: Iterable<readonly [string, HostTensor]>,
    readonly device: Device,
  ) {
    for (const [name, value] of weights) this.#tensors.set(name, upload(value, 'f32', device));
  }

  find(name: string) {
    const tensor = this.#tensors.get(name);
    return tensor && { buffer: tensor.buffer, offset: 0, shape: tensor.shape, dtype: tensor.dtype };
  }

  dispose(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose();
    this.#tensors.clear();
  }
}
