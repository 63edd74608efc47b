import type { ConstantSource } from '../graph/compile.js';
import type { Device } from '../runtime/device.js';
import { Owned } from '../runtime/owned.js';
import type { Program, Tensors } from '../runtime/program.js';
import type { Tensor } from '../runtime/tensor.js';
import { gradientProgram, type Loss, type TrainingGraphOptions } from './gradient_program.js';
import type { ParameterLayout } from './layout.js';

/** Samples that a gradient is computed of at once. */
export interface MicroBatch {
  /** Compiled for the replica that it is given to. */
  program: Program;
  inputs: Tensors;
  /** Samples in it. */
  size: number;
}

export type OnOutputs = (outputs: Tensors) => void | Promise<void>;

/** The parameters on one device, and the gradient that is computed there. */
export class Replica {
  /** (4, P), as in `ParameterLayout`. */
  readonly state: Tensor;
  /** (P) */
  readonly gradient: Tensor;

  constructor(
    readonly device: Device,
    readonly layout: ParameterLayout,
    state: Float32Array,
  ) {
    this.state = device.tensor(layout.stateShape, 'f32', state);
    this.gradient = device.tensor([layout.size], 'f32');
  }

  /** Compiles forward and backward of a loss over these parameters. The caller disposes it. */
  program(loss: Loss, frozen?: ConstantSource, options?: TrainingGraphOptions): Promise<Program> {
    return gradientProgram(this.device, this.layout, loss, frozen, options);
  }

  /**
   * Lets `gradient` be `accumulated` (P) plus that of the micro-batch's summed loss.
   * @param onOutputs Sees what the program returned besides the gradient; the tensors are disposed after it.
   * @returns The summed loss.
   */
  async backward(
    { program, inputs, size }: MicroBatch,
    accumulated: Tensor,
    onOutputs?: OnOutputs,
  ): Promise<number> {
    using owned = new Owned();
    const weights = owned.add(this.device.tensor([size], 'f32', new Float32Array(size).fill(1)));
    const given = { ...inputs, state: this.state, accumulated, weights };
    const { gradient: _, ...outputs } = await program.run(given, {
      into: { gradient: this.gradient },
      inPlace: true,
    });
    for (const tensor of Object.values(outputs)) owned.add(tensor);
    await onOutputs?.(outputs);
    return ((await outputs.loss!.data()) as Float32Array).reduce((total, loss) => total + loss, 0);
  }

  dispose(): void {
    this.state.dispose();
    this.gradient.dispose();
  }
}
