import { program } from '../graph/evaluate.js';
import { add } from '../graph/ops/add.js';
import type { Device } from '../runtime/device.js';
import { Owned } from '../runtime/owned.js';
import type { Program } from '../runtime/program.js';
import type { Tensor } from '../runtime/tensor.js';
import type { ParameterLayout } from './layout.js';
import { type MicroBatch, type OnOutputs, Replica } from './replica.js';

/**
 * Replicas on further devices. Each computes the gradient of one micro-batch, which goes to the first replica and is added
 * there; the first one's parameters come back. Both ways go through the host: that needs no link between the devices, and
 * moves 8 bytes a parameter.
 */
export class Followers {
  readonly replicas: readonly Replica[];
  /** What their gradients begin with, one for each. */
  readonly #zeros: readonly Tensor[];
  readonly #arrived: Tensor;
  readonly #owned: Owned;

  private constructor(
    readonly first: Replica,
    devices: readonly Device[],
    state: Float32Array,
    readonly sum: Program,
    readonly parameters: Program,
    owned: Owned,
  ) {
    const { layout } = first;
    const none = new Float32Array(layout.size);
    this.replicas = devices.map((device) => owned.add(new Replica(device, layout, state)));
    this.#zeros = devices.map((device) => owned.add(device.tensor([layout.size], 'f32', none)));
    this.#arrived = owned.add(first.device.tensor([layout.size], 'f32'));
    this.#owned = owned.move();
  }

  /** @param state (4, P), that of the first one */
  static async create(first: Replica, devices: readonly Device[], state: Float32Array): Promise<Followers> {
    using owned = new Owned();
    const sum = owned.add(await sumProgram(first.device, first.layout));
    const parameters = owned.add(await parametersProgram(first.device, first.layout));
    return new Followers(first, devices, state, sum, parameters, owned);
  }

  /** Computes a micro-batch's gradient on follower `i`. @returns The summed loss. */
  backward(i: number, batch: MicroBatch, onOutputs?: OnOutputs): Promise<number> {
    return this.replicas[i]!.backward(batch, this.#zeros[i]!, onOutputs);
  }

  /** Adds follower `i`'s gradient to the first replica's. */
  async collect(i: number): Promise<void> {
    this.#arrived.write((await this.replicas[i]!.gradient.data()) as Float32Array);
    const { gradient } = this.first;
    await this.sum.run(
      { gradient: this.#arrived, accumulated: gradient },
      { into: { sum: gradient }, inPlace: true },
    );
  }

  /** Gives all followers the first replica's parameters. */
  async update(): Promise<void> {
    const { parameters } = await this.parameters.run({ state: this.first.state });
    using made = parameters!;
    const values = (await made.data()) as Float32Array;
    for (const { state } of this.replicas) state.writeStart(values);
  }

  dispose(): void {
    this.#owned[Symbol.dispose]();
  }
}

/** The operands in the order in which a gradient program adds what it was given: the same bits. */
function sumProgram(device: Device, { size }: ParameterLayout): Promise<Program> {
  const port = { shape: [size], dtype: 'f32' } as const;
  return program(device, { gradient: port, accumulated: port }, (graph, { gradient, accumulated }) => ({
    sum: add(graph, gradient!, accumulated!),
  }));
}

/** state (4, P) → parameters (1, P). */
function parametersProgram(device: Device, layout: ParameterLayout): Promise<Program> {
  const port = { shape: layout.stateShape, dtype: 'f32' } as const;
  return program(device, { state: port }, (graph, { state }) => ({
    parameters: layout.parametersOf(graph, state!),
  }));
}
