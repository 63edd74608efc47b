import { HrsamError } from '../errors.js';
import type { ConstantSource } from '../graph/compile.js';
import type { AdamWOptions, ParameterGroup } from '../graph/ops/adamw.js';
import type { Device } from '../runtime/device.js';
import { Owned } from '../runtime/owned.js';
import type { Program, Tensors } from '../runtime/program.js';
import type { Tensor } from '../runtime/tensor.js';
import { gradientProgram, type Loss, type TrainingGraphOptions, updateProgram } from './gradient_program.js';
import type { ParameterLayout } from './layout.js';
import { learningRate, type Schedule } from './schedule.js';

export interface TrainerOptions {
  groups: readonly ParameterGroup[];
  schedule: Schedule;
  adamw?: AdamWOptions;
  /** Share of the old value in the moving average of the parameters; less in the first steps, which are soon forgotten. */
  average?: number;
}

/** As published; gradients are not clipped. */
export const ADAMW: AdamWOptions = { betas: [0.9, 0.999], eps: 1e-8, clip: 0 };

/** What one step is made of: its micro-batches, of shapes that `program` was compiled for. */
export interface MicroBatch {
  program: Program;
  inputs: Tensors;
  /** Samples in it. */
  size: number;
}

/**
 * Parameters on a device and the steps that change them. It knows neither data nor models: programs come from
 * `program()`, batches from the caller.
 */
export class Trainer {
  /** (4, P): parameters, first and second moments, moving average. */
  readonly state: Tensor;
  readonly #gradient: Tensor;
  readonly #zeros: Float32Array;
  readonly #step: Tensor;
  #taken: number;

  private constructor(
    readonly device: Device,
    readonly layout: ParameterLayout,
    readonly options: TrainerOptions,
    readonly update: Program,
    state: Float32Array,
    taken: number,
  ) {
    this.state = device.tensor([4, layout.size], 'f32', state);
    this.#gradient = device.tensor([layout.size], 'f32');
    this.#zeros = new Float32Array(layout.size);
    this.#step = device.tensor([5], 'f32');
    this.#taken = taken;
  }

  /**
   * @param state (4, P): from `initialState`, or a checkpoint's.
   * @param taken Steps taken before.
   */
  static async create(
    device: Device,
    layout: ParameterLayout,
    options: TrainerOptions,
    state: Float32Array,
    taken = 0,
  ): Promise<Trainer> {
    if (state.length !== 4 * layout.size) {
      throw new HrsamError('ERR_SHAPE', 'state of the trainer', {
        expected: 4 * layout.size,
        actual: state.length,
      });
    }
    const update = await updateProgram(device, layout, options.groups, options.adamw ?? ADAMW);
    return new Trainer(device, layout, options, update, state, taken);
  }

  /** Steps taken so far. */
  get taken(): number {
    return this.#taken;
  }

  /** Compiles forward and backward of a loss over this trainer's parameters. The caller disposes it. */
  program(loss: Loss, frozen?: ConstantSource, options?: TrainingGraphOptions): Promise<Program> {
    return gradientProgram(this.device, this.layout, loss, frozen, options);
  }

  /**
   * One optimiser step: the mean over all samples of the micro-batches, which are asked for one by one.
   * @param onOutputs Sees what each micro-batch returned besides the gradient; the tensors are disposed after it.
   * @returns The mean loss.
   * @throws HrsamError ERR_INTERNAL when the loss is not finite; the parameters are then as before.
   */
  async step(
    batches: Iterable<MicroBatch> | AsyncIterable<MicroBatch>,
    onOutputs?: (outputs: Tensors, batch: number) => void | Promise<void>,
  ): Promise<number> {
    this.#gradient.write(this.#zeros);
    let sum = 0;
    let samples = 0;
    let count = 0;
    for await (const { program, inputs, size } of batches) {
      const index = count++;
      sum += await this.#backward(program, inputs, size, (outputs) => onOutputs?.(outputs, index));
      samples += size;
    }
    if (!Number.isFinite(sum)) {
      throw new HrsamError('ERR_INTERNAL', `the loss is ${sum}`, { where: `step ${this.#taken}` });
    }
    await this.#apply(samples);
    return sum / samples;
  }

  async #backward(
    program: Program,
    inputs: Tensors,
    size: number,
    onOutputs: (outputs: Tensors) => void | Promise<void>,
  ): Promise<number> {
    using owned = new Owned();
    const weights = owned.add(this.device.tensor([size], 'f32', new Float32Array(size).fill(1)));
    const given = { ...inputs, state: this.state, accumulated: this.#gradient, weights };
    const { gradient: _, ...outputs } = await program.run(given, { into: { gradient: this.#gradient } });
    for (const tensor of Object.values(outputs)) owned.add(tensor);
    await onOutputs(outputs);
    return ((await outputs.loss!.data()) as Float32Array).reduce((total, loss) => total + loss, 0);
  }

  async #apply(samples: number): Promise<void> {
    const { adamw = ADAMW, schedule, average = 0 } = this.options;
    const t = this.#taken + 1;
    const [beta1, beta2] = adamw.betas;
    const rate = learningRate(this.#taken, schedule);
    const kept = Math.min(average, t / (t + 9));
    this.#step.write(new Float32Array([rate, 1 - beta1 ** t, 1 - beta2 ** t, samples, kept]));
    const inputs = { state: this.state, gradient: this.#gradient, step: this.#step };
    await this.update.run(inputs, { into: { state: this.state } });
    this.#taken = t;
  }

  dispose(): void {
    for (const item of [this.state, this.#gradient, this.#step, this.update]) item.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** (4, P) for parameters by name: no moments yet, the average being the parameters themselves. */
export function initialState(layout: ParameterLayout, read: (name: string) => Float32Array): Float32Array {
  const state = new Float32Array(4 * layout.size);
  layout.parameters.forEach(({ name }, i) => {
    const values = read(name);
    state.set(values, layout.offsets[i]!);
    state.set(values, 3 * layout.size + layout.offsets[i]!);
  });
  return state;
}
