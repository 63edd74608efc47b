import type { ConstantSource } from '../graph/compile.js';
import type { ComputeType } from '../model/layers.js';
import { Owned } from '../runtime/owned.js';
import type { Program } from '../runtime/program.js';
import { COLOUR_CHANNELS, type ModelConfig } from '../weights/config.js';
import { concatenated } from './concatenated.js';
import { type DropPathOptions, droppedBranches } from './dropped_branches.js';
import { distillationLoss } from './losses.js';
import type { Replica } from './replica.js';
import type { Task, TaskBatch } from './task.js';
import type { TaughtPicture } from './taught_pictures.js';

export interface DistillTaskOptions extends DropPathOptions {
  /** Side of the pictures. */
  size: number;
  compute: ComputeType;
  recompute: boolean;
}

/** Learning a teacher's embeddings, the mean squared error between them (HRSAM's first stage, arXiv 2407.02109). */
export class DistillTask implements Task<TaughtPicture[]> {
  #program: Promise<Program> | undefined;

  constructor(
    readonly replica: Replica,
    readonly config: ModelConfig,
    readonly fixed: ConstantSource,
    readonly sample: (index: number) => Promise<TaughtPicture>,
    readonly options: DistillTaskOptions,
  ) {}

  get samples(): number {
    return this.options.batch;
  }

  async prepare(index: number): Promise<TaughtPicture[]> {
    const { batch } = this.options;
    return Promise.all(Array.from({ length: batch }, (_, i) => this.sample(index * batch + i)));
  }

  async batch(pictures: TaughtPicture[], index: number): Promise<TaskBatch> {
    const { size, batch, compute, recompute, dropPath } = this.options;
    const { device } = this.replica;
    const side = size / this.config.encoder.patchSize;
    const shape = { batch, height: size, width: size };
    this.#program ??= this.replica.program(distillationLoss(this.config, shape, compute), this.fixed, {
      recompute,
      dropPath: dropPath > 0,
    });
    const program = await this.#program;
    using owned = new Owned();
    const f32 = (sides: number[], data: Float32Array) => owned.add(device.tensor(sides, 'f32', data));
    const inputs = {
      ...droppedBranches(this.replica, this.config, this.options, index, owned),
      image: f32([batch, COLOUR_CHANNELS, size, size], concatenated(pictures.map(({ image }) => image))),
      target: f32(
        [batch, side, side, this.config.decoder.dim],
        concatenated(pictures.map(({ target }) => target)),
      ),
    };
    const kept = owned.move();
    return {
      batch: { program, inputs, size: batch },
      figures: {},
      [Symbol.dispose]: () => kept[Symbol.dispose](),
    };
  }

  dispose(): void {
    this.#program?.then(
      (program) => program.dispose(),
      () => {},
    );
  }
}
