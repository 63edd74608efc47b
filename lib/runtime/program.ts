import { HrsamError } from '../errors.js';
import { type NativeProgram, settled } from './addon.js';
import type { Device } from './device.js';
import type { Plan } from './plan.js';
import type { Tensor } from './tensor.js';

export type Tensors = Record<string, Tensor>;

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
   * @param options.into Existing tensors to write outputs to.
   * @throws HrsamError ERR_SHAPE for a missing or wrong input, ERR_DISPOSED, ERR_ABORTED, ERR_OUT_OF_MEMORY
   */
  async run(inputs: Tensors, options: { signal?: AbortSignal; into?: Tensors } = {}): Promise<Tensors> {
    const handle = this.#handle;
    if (!handle) throw new HrsamError('ERR_DISPOSED', 'the program was disposed');
    const given = this.plan.inputs.map(({ name, shape, dtype }) => {
      const tensor = inputs[name];
      const actual = tensor ? `${tensor.dtype} [${tensor.shape}]` : 'nothing';
      if (actual !== `${dtype} [${shape}]`) {
        throw new HrsamError('ERR_SHAPE', `input '${name}'`, { expected: `${dtype} [${shape}]`, actual });
      }
      return tensor!.buffer;
    });
    const made: Tensor[] = [];
    const outputs: Tensors = {};
    try {
      for (const { name, shape, dtype } of this.plan.outputs) {
        const existing = options.into?.[name];
        outputs[name] = existing ?? this.device.tensor(shape, dtype);
        if (!existing) made.push(outputs[name]);
      }
      const buffers = this.plan.outputs.map(({ name }) => outputs[name]!.buffer);
      await settled(this.device.handle, () => handle.run(given, buffers, this.plan.flops), options.signal);
      return outputs;
    } catch (error) {
      for (const tensor of made) tensor.dispose();
      throw error;
    }
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
