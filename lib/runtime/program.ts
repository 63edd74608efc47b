import { HrsamError } from '../errors.js';
import { optionsOf } from '../options.js';
import { type NativeProgram, settled } from './addon.js';
import type { Device } from './device.js';
import { byteCount } from './dtype.js';
import type { Plan, PlanPort } from './plan.js';
import { Tensor } from './tensor.js';

/** Tensors by name. */
export type Tensors = Record<string, Tensor>;

/** Options of `Program.run`. */
export interface ProgramRunOptions {
  /** Ends the work with ERR_ABORTED while it is queued or between two layers. */
  signal?: AbortSignal;
  /** Existing tensors to write outputs to, by name; each for one output, and none that is an input of the same run. */
  into?: Tensors;
  /** @internal Inputs may be written to: the graph reads no element after it has written its place. Default false. */
  inPlace?: boolean;
}

const checkOptions = optionsOf<ProgramRunOptions>({ signal: true, into: true, inPlace: true });

/** A compiled forward pass for one set of input shapes. Any number of runs may be in flight. */
export class Program {
  #handle: NativeProgram | undefined;

  /** @internal Programs are made by lib/graph/compile.ts. */
  constructor(
    /** Where it runs. */
    readonly device: Device,
    handle: NativeProgram,
    /** Its steps and the memory laid out for them. */
    readonly plan: Plan,
  ) {
    this.#handle = handle;
  }

  /**
   * One asynchronous native call: inputs in, new output tensors out, all by name.
   * @throws HrsamError ERR_SHAPE for a missing or wrong tensor, ERR_ARGUMENT for one that may not be written to, ERR_DEVICE for one of another device, ERR_DISPOSED, ERR_ABORTED, ERR_OUT_OF_MEMORY
   */
  async run(inputs: Tensors, options: ProgramRunOptions = {}): Promise<Tensors> {
    checkOptions(options, 'run');
    const handle = this.#handle;
    if (!handle) throw new HrsamError('ERR_DISPOSED', 'the program was disposed');
    const read = this.plan.inputs.map((port) => this.#fitting('input', port, inputs?.[port.name]));
    this.#checkInto(options.into ?? {}, options.inPlace ? [] : read);
    const given = read.map(({ buffer }) => buffer);
    const made: Tensor[] = [];
    const outputs: Tensors = {};
    try {
      for (const port of this.plan.outputs) {
        const existing = options.into?.[port.name];
        const tensor = existing
          ? this.#fitting('output', port, existing)
          : this.device.tensor(port.shape, port.dtype);
        if (!existing) made.push(tensor);
        outputs[port.name] = tensor;
      }
      const buffers = this.plan.outputs.map(({ name }) => outputs[name]!.buffer);
      await settled(this.device.handle, () => handle.run(given, buffers, this.plan.flops), options.signal);
      return outputs;
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    }
  }

  /**
   * Whether a run will find the memory that it takes, so that none is spent on inputs in vain. On the CPU alone: a GPU
   * keeps memory in blocks, which asking for another one would cost it.
   * @throws HrsamError ERR_OUT_OF_MEMORY
   */
  checkRoom(): void {
    if (this.device.kind !== 'cpu') return;
    const { inputs, outputs, arenaBytes } = this.plan;
    const tensors = [...inputs, ...outputs].map(({ shape, dtype }) => byteCount(shape, dtype));
    // An earlier run's working memory is used again, or freed where it is too small.
    const working = Math.max(0, arenaBytes - this.device.memory().cached);
    // Given back untouched.
    this.device.tensor([tensors.reduce((sum, bytes) => sum + bytes, working)], 'u8').dispose();
  }

  #checkInto(into: Tensors, read: readonly Tensor[]): void {
    const seen = new Set(read);
    for (const [name, tensor] of Object.entries(into)) {
      const known = this.plan.outputs.some((port) => port.name === name);
      if (known && !seen.has(tensor)) seen.add(tensor);
      else
        throw new HrsamError('ERR_ARGUMENT', known ? 'a tensor used twice' : 'an unknown output', {
          where: `into '${name}'`,
          expected: known
            ? 'one that is neither an input nor another output'
            : this.plan.outputs.map((port) => port.name),
        });
    }
  }

  #fitting(kind: 'input' | 'output', { name, shape, dtype }: PlanPort, tensor: Tensor | undefined): Tensor {
    const expected = `${dtype} [${shape}]`;
    const isTensor = tensor instanceof Tensor;
    const none = tensor ? 'no tensor' : 'nothing';
    const actual = isTensor ? `${tensor.dtype} [${tensor.shape}]` : none;
    if (!isTensor || actual !== expected) {
      throw new HrsamError('ERR_SHAPE', `${kind} '${name}'`, { expected, actual });
    }
    this.device.expectOwn(tensor, `${kind} '${name}'`);
    return tensor;
  }

  /** Frees the program once its runs have ended. Doing it twice is harmless. */
  dispose(): void {
    this.#handle?.dispose();
    this.#handle = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
