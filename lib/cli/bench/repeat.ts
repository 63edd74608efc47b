import { type Build, program } from '../../graph/evaluate.js';
import type { Device } from '../../runtime/device.js';
import { byteCount, elementCount, type Shape } from '../../runtime/dtype.js';
import { Owned } from '../../runtime/owned.js';
import type { Program, Tensors } from '../../runtime/program.js';
import { bf16Bits } from '../../weights/dtypes.js';
import { fillTensor } from '../../weights/random.js';
import { type BenchRow, measure, type Subject } from './measure.js';

/** More than any GPU's second-level cache, and than most processors' last. */
const CACHE_BYTES = 128 << 20;
const MAX_SETS = 64;
/** A GPU's run: so long that calling it from JavaScript counts for little. */
const RUN_MS = 4;
const MAX_COPIES = 256;

/** Of a tensor's values. */
const DISTINCT = 1 << 20;

export type Compute = 'f32' | 'bf16';
type Shapes = Record<string, Shape>;

export interface Repeated extends Omit<Subject, 'run' | 'device' | 'copies'> {
  dtype: Compute;
  /** Inputs that take turns, together larger than the cache: always on a GPU, on a CPU where memory is what is measured. */
  rotate?: boolean;
}

/** Times a few ops on generated tensors; `shapes` of inputs and constants, whose types are `dtype` unless a weight's. */
export async function timeOps(
  device: Device,
  { rotate = false, ...subject }: Repeated,
  inputs: Shapes,
  constants: Shapes,
  build: Build,
): Promise<BenchRow> {
  using owned = new Owned();
  const onGpu = device.kind === 'cuda';
  const make = (shapes: Shapes, dtype: Compute, suffix = ''): Tensors =>
    Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [
        `${name}${suffix}`,
        owned.add(device.tensor(shape, dtype, values(name, shape, dtype))),
      ]),
    );
  const bytes = Object.values(inputs).reduce((sum, shape) => sum + byteCount(shape, subject.dtype), 0);
  const sets = onGpu || rotate ? Math.min(MAX_SETS, 1 + Math.ceil(CACHE_BYTES / bytes)) : 1;
  const weights = make(constants, 'f32');
  const given: Tensors = {};
  for (let set = 0; set < sets; set++) Object.assign(given, make(inputs, subject.dtype, `.${set}`));

  const compiled = async (copies: number): Promise<() => Promise<void>> => {
    const made = owned.add(
      await program(device, given, repeated(build, inputs, constants, copies, sets), { constants: weights }),
    );
    const into = outputs(device, made, sets, owned);
    return async () => {
      await made.run(given, { into });
    };
  };
  let copies = sets;
  let run = await compiled(copies);
  if (onGpu) {
    copies = await copiesThatLast(run, sets);
    if (copies > sets) run = await compiled(copies);
  }
  return await measure({ ...subject, device, copies, run });
}

/** Numbers in (−0.5, 0.5), the same ones over and over in what is large: they do not change how long an op takes. */
function values(name: string, shape: Shape, dtype: Compute): Float32Array | Uint16Array {
  const count = elementCount(shape);
  const made = fillTensor(name, { offset: 0, scale: 0.5 }, new Float32Array(Math.min(count, DISTINCT)));
  const data = dtype === 'f32' ? new Float32Array(count) : new Uint16Array(count);
  data.set(dtype === 'f32' ? made : Uint16Array.from(made, bf16Bits));
  for (let filled = made.length; filled < count; filled *= 2)
    data.copyWithin(filled, 0, Math.min(filled, count - filled));
  return data;
}

/** The ops `copies` times in one program, on one set of inputs after the other. */
function repeated(build: Build, inputs: Shapes, constants: Shapes, copies: number, sets: number): Build {
  return (graph, values) => {
    const results: ReturnType<Build> = {};
    for (let copy = 0; copy < copies; copy++) {
      const own = Object.keys(inputs).map((name) => [name, values[`${name}.${copy % sets}`]!]);
      const shared = Object.keys(constants).map((name) => [name, values[name]!]);
      for (const [name, value] of Object.entries(build(graph, Object.fromEntries([...own, ...shared]))))
        results[`${name}.${copy}`] = value;
    }
    return results;
  };
}

/** Tensors for the results; those of copies that have the same inputs are the same. */
function outputs(device: Device, { plan }: Program, sets: number, owned: Owned): Tensors {
  const bySet = new Map<string, Tensors[string]>();
  return Object.fromEntries(
    plan.outputs.map(({ name, shape, dtype }) => {
      const [result, copy] = name.split('.') as [string, string];
      const key = `${result}.${Number(copy) % sets}`;
      const tensor = bySet.get(key) ?? owned.add(device.tensor(shape, dtype));
      bySet.set(key, tensor);
      return [name, tensor];
    }),
  );
}

async function copiesThatLast(run: () => Promise<void>, copies: number): Promise<number> {
  await run();
  const begin = performance.now();
  await run();
  const ms = performance.now() - begin;
  return Math.max(copies, Math.min(MAX_COPIES, Math.ceil((RUN_MS / ms) * copies)));
}
