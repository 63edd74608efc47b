import { HrsamError } from '../errors.js';
import type { NativeBuffer } from '../runtime/addon.js';
import type { Device } from '../runtime/device.js';
import type { DType, Shape } from '../runtime/dtype.js';
import { STORAGE } from '../runtime/plan.js';
import type { Program } from '../runtime/program.js';
import type { Graph, Value } from './graph.js';
import { plan } from './plan.js';

/** Where a constant is: a buffer on the device and an offset into it, in bytes. */
export interface ConstantPlace {
  buffer: NativeBuffer;
  offset: number;
  shape: Shape;
  dtype: DType;
}

/** Finds constants by name; implemented by lib/weights. */
export interface ConstantSource {
  find(name: string): ConstantPlace | undefined;
}

export interface CompileOptions {
  /** Further outputs, from the graph's marks. */
  trace?: readonly string[];
  signal?: AbortSignal;
}

/** Compiles a graph's outputs into a program of `device`. @throws HrsamError ERR_WEIGHTS for a constant that is missing or of another shape */
export async function compile(
  graph: Graph,
  device: Device,
  constants: ConstantSource,
  options: CompileOptions = {},
): Promise<Program> {
  const outputs = new Map<string, Value>(graph.outputs);
  for (const name of options.trace ?? []) {
    const value = graph.marks.get(name);
    if (!value)
      throw new HrsamError('ERR_ARGUMENT', `trace '${name}'`, { expected: [...graph.marks.keys()] });
    outputs.set(name, value);
  }
  const made = plan(graph, outputs);
  const buffers: NativeBuffer[] = [];
  const slots = new Map<NativeBuffer, number>();
  const places = made.constants.map((name) => {
    const place = constants.find(name);
    const wanted = graph.constants.get(name)!;
    const expected = `${wanted.dtype} [${wanted.shape}]`;
    const actual = place ? `${place.dtype} [${place.shape}]` : 'nothing';
    if (!place || actual !== expected)
      throw new HrsamError('ERR_WEIGHTS', `tensor '${name}'`, { expected, actual });
    if (!slots.has(place.buffer)) slots.set(place.buffer, buffers.push(place.buffer) - 1);
    return { slot: slots.get(place.buffer)!, offset: place.offset };
  });
  const values = made.values.map((value) =>
    value.storage === STORAGE.constant
      ? { ...value, slot: places[value.slot]!.slot, offset: value.offset + places[value.slot]!.offset }
      : value,
  );
  return device.compile({ ...made, values }, buffers, options.signal);
}
