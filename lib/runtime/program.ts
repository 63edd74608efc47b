import { HrsamError } from '../errors.js';
import { optionsOf } from '../options.js';
import { type NativeProgram, settled } from './addon.js';
import type { Device } from './device.js';
import type { Plan, PlanPort } from './plan.js';
import type { Tensor } from './tensor.js';

export type Tensors = Record<string, Tensor>;

export interface ProgramRunOptions {
  signal?: AbortSignal;
  /** Existing tensors to write outputs to, by name. */
  into?: Tensors;
}

const checkOptions = optionsOf<ProgramRunOptions>({ signal: true, into: true });

/** A compiled forward pass for one set of input shapes. Any number of runs may be in flight. */
export class Program {
  #handle: NativeProgram | undefined;

  /** @internal Programs are made by lib/graph/compile.ts. */
  constructor(
    readonly device: Device,
    handle: NativeProgram,
    readonly plan: Plan,
  ) {
    this.#handle = handle;
  }

  /**
   * One asynchronous native call: inputs in, new output tensors out, all by name.
   * @throws HrsamError ERR_SHAPE for a missing or wrong tensor, ERR_DEVICE for one of another device, ERR_DISPOSED, ERR_ABORTED, ERR_OUT_OF_MEMORY
   */
  async run(inputs: Tensors, options: ProgramRunOptions = {}): Promise<Tensors> {
    checkOptions(options, 'run');
    const handle = this.#handle;
    if (!handle) throw new HrsamError('ERR_DISPOSED', 'the program was disposed');
    const given = this.plan.inputs.map((port) => this.#fitting('input', port, inputs[port.name]).buffer);
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

  #fitting(kind: 'input' | 'output', { name, shape, dtype }: PlanPort, tensor: Tensor | undefined): Tensor {
    const expected = `${dtype} [${shape}]`;
    const actual = tensor ? `${tensor.dtype} [${tensor.shape}]` : 'nothing';
    if (!tensor || actual !== expected) {
      throw new HrsamError('ERR_SHAPE', `${kind} '${name}'`, { expected, actual });
    }
    if (tensor.device !== this.device) {
      const [wanted, found] = [this.device.name, tensor.device.name];
      throw new HrsamError('ERR_DEVICE', `${kind} '${name}'`, { expected: wanted, actual: found });
    }
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
