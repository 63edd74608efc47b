import { allOf } from '../all_of.js';
import { HrsamError } from '../errors.js';
import type { Device } from '../runtime/device.js';
import { elementCount } from '../runtime/dtype.js';
import { Owned } from '../runtime/owned.js';
import type { Program } from '../runtime/program.js';
import type { Tensor } from '../runtime/tensor.js';
import { Followers } from './followers.js';
import type { ParameterLayout } from './layout.js';
import { ADAMW, type UpdateOptions, updatePrograms } from './optimizer.js';
import type { Values } from './parameters.js';
import { type MicroBatch, type OnOutputs, Replica } from './replica.js';
import { learningRate, type Schedule } from './schedule.js';

export interface TrainerOptions extends UpdateOptions {
  schedule: Schedule;
  /** Share of the old value in the moving average of the parameters; less in the first steps, which are soon forgotten. */
  emaDecay?: number;
}

/** Micro-batches that are computed at the same time, the i-th one by the i-th replica. */
export type Round = readonly [MicroBatch, ...MicroBatch[]];

/**
 * Parameters on one or several devices and the steps that change them. It knows neither data nor models: programs come
 * from the replicas, batches from the caller. Micro-batch after micro-batch is added to one gradient, wherever it was
 * computed, and one update is made and copied: the result is the same bits on any number of devices of one kind.
 */
export class Trainer {
  /** One for each device; the first one has moments and moving average as they are, the others parameters alone. */
  readonly replicas: readonly [Replica, ...Replica[]];
  readonly #followers: Followers | undefined;
  readonly #zeros: Float32Array;
  readonly #step: Tensor;
  readonly #owned: Owned;
  #taken: number;

  private constructor(
    readonly layout: ParameterLayout,
    readonly options: TrainerOptions,
    readonly updates: readonly Program[],
    first: Replica,
    followers: Followers | undefined,
    owned: Owned,
    taken: number,
  ) {
    this.replicas = [first, ...(followers?.replicas ?? [])];
    this.#followers = followers;
    this.#zeros = new Float32Array(layout.size);
    this.#step = owned.add(first.device.tensor([5], 'f32'));
    this.#owned = owned.move();
    this.#taken = taken;
  }

  /**
   * @param devices The first one makes the updates.
   * @param state (4, P): from `initialState`, or a checkpoint's.
   * @param taken Steps taken before.
   */
  static async create(
    devices: Device | readonly [Device, ...Device[]],
    layout: ParameterLayout,
    options: TrainerOptions,
    state: Float32Array,
    taken = 0,
  ): Promise<Trainer> {
    const expected = elementCount(layout.stateShape);
    if (state.length !== expected) {
      throw new HrsamError('ERR_SHAPE', 'state of the trainer', { expected, actual: state.length });
    }
    const [device, ...others] = [devices].flat() as [Device, ...Device[]];
    using owned = new Owned();
    const updates = await updatePrograms(device, layout, options);
    for (const update of updates) owned.add(update);
    const first = owned.add(new Replica(device, layout, state));
    const followers = others.length > 0 ? owned.add(await Followers.create(first, others, state)) : undefined;
    return new Trainer(layout, options, updates, first, followers, owned, taken);
  }

  /** Steps taken so far. */
  get taken(): number {
    return this.#taken;
  }

  /** (4, P), as in `ParameterLayout`. */
  get state(): Tensor {
    return this.replicas[0].state;
  }

  /**
   * One optimiser step: the mean over all samples of the micro-batches, whose rounds are asked for one by one.
   * @param onOutputs Sees what each micro-batch returned besides the gradient; the tensors are disposed after it.
   * @returns The mean loss.
   * @throws HrsamError ERR_DIVERGED when the loss is not finite; the parameters are then as before.
   */
  async step(rounds: Iterable<Round> | AsyncIterable<Round>, onOutputs?: OnOutputs): Promise<number> {
    const [first] = this.replicas;
    first.gradient.write(this.#zeros);
    let sum = 0;
    let samples = 0;
    for await (const [leading, ...others] of rounds) {
      const losses = await allOf([
        first.backward(leading, first.gradient, onOutputs),
        ...others.map((batch, i) => this.#followers!.backward(i, batch, onOutputs)),
      ]);
      for (const i of others.keys()) await this.#followers!.collect(i);
      for (const loss of losses) sum += loss;
      for (const { size } of [leading, ...others]) samples += size;
    }
    if (!Number.isFinite(sum)) {
      throw diverged(`the loss is ${sum}`, this.#taken);
    }
    await this.#apply(samples);
    await this.#followers?.update();
    return sum / samples;
  }

  async #apply(samples: number): Promise<void> {
    const { adamw = ADAMW, schedule, emaDecay = 0 } = this.options;
    const t = this.#taken + 1;
    const [beta1, beta2] = adamw.betas;
    const rate = learningRate(this.#taken, schedule);
    const kept = Math.min(emaDecay, t / (t + 9));
    this.#step.write(new Float32Array([rate, 1 - beta1 ** t, 1 - beta2 ** t, samples, kept]));
    const { state, gradient } = this.replicas[0];
    for (const update of this.updates)
      await update.run({ state, gradient, step: this.#step }, { into: { state }, inPlace: true });
    this.#taken = t;
  }

  dispose(): void {
    this.#owned[Symbol.dispose]();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** What the caller can do about numbers that are none any more: to go on would come to the same numbers. */
export const diverged = (what: string, step: number): HrsamError =>
  new HrsamError('ERR_DIVERGED', what, {
    where: `step ${step}`,
    expected:
      step === 0
        ? 'other weights or data to begin with'
        : 'a lower learningRate in a training that begins again in another folder, with the model that was saved last as init',
  });

/** (4, P): no moments yet, the average being the parameters themselves. */
export function initialState(layout: ParameterLayout, values: Values): Float32Array {
  const state = new Float32Array(elementCount(layout.stateShape));
  const average = layout.averageOf(state);
  layout.parameters.forEach(({ name, shape }, i) => {
    const parameter = values(name, shape);
    state.set(parameter, layout.offsets[i]!);
    average.set(parameter, layout.offsets[i]!);
  });
  return state;
}
