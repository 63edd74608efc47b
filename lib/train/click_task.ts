import type { ConstantSource } from '../graph/compile.js';
import { maskThreshold } from '../graph/ops/mask_threshold.js';
import { slice } from '../graph/ops/slice.js';
import type { Rle } from '../image/rle.js';
import type { ComputeType } from '../model/layers.js';
import { maskLogits, maskSide } from '../model/model.js';
import { arrange, type PromptArrays, type PromptToken, TOKEN_BUCKET } from '../predictor/prompt_tokens.js';
import { Rng } from '../rng.js';
import { Owned } from '../runtime/owned.js';
import type { Program, Tensors } from '../runtime/program.js';
import { ProgramCache } from '../runtime/programs.js';
import type { Tensor } from '../runtime/tensor.js';
import { COLOUR_CHANNELS, type ModelConfig } from '../weights/config.js';
import { ClickPlayer, type PlayerOptions } from './click_player.js';
import { concatenated } from './concatenated.js';
import { type DropPathOptions, droppedBranches } from './dropped_branches.js';
import { forwardProgram, gradientHalf } from './gradient_program.js';
import { type ClickShape, clickLoss, repeated } from './losses.js';
import { normalised } from './normalise.js';
import type { Replica } from './replica.js';
import type { Sample } from './samples/mixture.js';
import { someOf } from './samples/source.js';
import type { Task, TaskBatch } from './task.js';

export interface ClickTaskOptions extends PlayerOptions, DropPathOptions {
  /** Side of the samples. */
  size: number;
  /** Other sides, and the share of the micro-batches that have each. Default: none. */
  multiScale?: Readonly<Record<string, number>>;
  /** Objects of a sample that are prompted for; where there are fewer, some have several users. */
  objects: number;
  /** Most clicks for an object. */
  clicks: number;
  /** Prompts for each object that are learned from: the last one, or the first one and others of those that followed. */
  steps: number;
  /** Probability that another click follows, once there are `steps` of them. */
  continueProbability: number;
  /** Probability that a step brings no click: the answer goes back with the prompt it answers, as SAM is trained too. */
  refine: number;
  focal: ClickShape['focal'];
  compute: ComputeType;
  recompute: boolean;
}

/** Numbers of tokens go up in buckets: an encoder, and for each bucket two decoders and a gradient. */
const KEPT_PROGRAMS = 64;

/** What a micro-batch takes that does not depend on the parameters. */
interface Prepared {
  /** S, the side of the samples. */
  size: number;
  /** (B, 3, S, S). */
  image: Float32Array;
  /** (users, 1, S, S). */
  labels: Float32Array;
  /** Their first prompts made. */
  players: ClickPlayer[];
  /** What is left to draw. */
  draws: Rng;
}

/** What a click step was asked and answered. */
interface ClickStep {
  tokens: PromptToken[][];
  /** Logits of mask 0, (B, h, w) at the masks' own size. */
  logits: Float32Array;
  /** Of mask 0 by sample. */
  ious: number[];
  /** Of the other masks, by sample; the first step's only. */
  others: number[][];
}

/**
 * Learning from simulated clicks (HRSAM's fine-tuning, arXiv 2407.02109): the model as it is answers a random number of
 * clicks, each placed where the answer before was most wrong, then some of those prompts are learned from. Several
 * prompts share one encoder pass.
 */
export class ClickTask implements Task<Prepared> {
  readonly #programs = new ProgramCache(KEPT_PROGRAMS);
  /** What encoders keep for the backward pass, for micro-batches of that size to come. */
  readonly #spare = new Map<number, Tensors[]>();

  constructor(
    readonly replica: Replica,
    readonly config: ModelConfig,
    readonly fixed: ConstantSource,
    readonly sample: (index: number, size: number) => Promise<Sample>,
    readonly options: ClickTaskOptions,
  ) {}

  get samples(): number {
    return this.options.batch;
  }

  async prepare(index: number): Promise<Prepared> {
    const { seed, batch, objects } = this.options;
    const size = this.#size(index);
    const samples = await Promise.all(
      Array.from({ length: batch }, (_, i) => this.sample(index * batch + i, size)),
    );
    const draws = new Rng(seed, index, 1);
    const masks = objectMasks(samples, objects);
    const square = { width: size, height: size };
    const players = masks.map((mask) => new ClickPlayer(mask, square, draws, this.options));
    await Promise.all(players.map((player) => player.begin()));
    const image = normalised(samples, this.config.image);
    return { size, image, labels: concatenated(masks), players, draws };
  }

  /** Of the samples of micro-batch `index`: it follows from the seed. */
  #size(index: number): number {
    const { seed, size, multiScale = {} } = this.options;
    const shares = Object.values(multiScale);
    const sizes = [size, ...Object.keys(multiScale).map(Number)];
    const rest = Math.max(0, 1 - shares.reduce((sum, share) => sum + share, 0));
    return sizes[new Rng(seed, index, 3).weighted([rest, ...shares])]!;
  }

  async batch({ size, image: pixels, labels, players, draws }: Prepared, index: number): Promise<TaskBatch> {
    const { batch, clicks, steps, continueProbability } = this.options;
    const { device } = this.replica;
    const users = players.length;
    let count = steps;
    while (count < clicks && draws.chance(continueProbability)) count++;
    using owned = new Owned();
    const image = owned.add(device.tensor([batch, COLOUR_CHANNELS, size, size], 'f32', pixels));
    const dropped = droppedBranches(this.replica, this.config, this.options, index, owned);
    const encoded = await this.#encode(size, { image, ...dropped }, owned);
    const made = await this.#play(size, encoded.embedding!, players, count, draws);
    const later = Array.from({ length: count - 1 }, (_, i) => i + 1);
    const taken = steps === 1 ? [count - 1] : [0, ...someOf(draws, later, steps - 1)];
    const chosen = taken.map((i) => made[i]!);
    const prompts = this.#arrange(chosen.flatMap(({ tokens }) => tokens));
    const f32 = (shape: number[], data: Float32Array) => owned.add(device.tensor(shape, 'f32', data));
    const prompted = this.#promptTensors(prompts, owned);
    const inputs: Tensors = {
      ...encoded,
      ...dropped,
      ...prompted,
      labels: f32([users, 1, size, size], labels),
      iou_targets: f32([steps * users, 1], Float32Array.from(chosen.flatMap(({ ious }) => ious))),
    };
    const others = this.config.decoder.multimaskOutputs;
    const masked = taken.filter((i) => i > 0);
    const refined = masked.length === taken.length;
    if (others > 0 && !refined) {
      const ious = chosen[0]!.others;
      inputs.chosen = f32([users, 1, others], Float32Array.from(ious.flatMap(marked)));
      inputs.multimask_iou_targets = f32([users, others], Float32Array.from(ious.flat()));
    }
    if (masked.length > 0) {
      const mask = concatenated(masked.map((i) => made[i - 1]!.logits));
      const side = maskSide(size, this.config);
      inputs.mask = f32([masked.length * users, side, side], mask);
    }
    const program = await this.#gradient(size, prompts.tokens, refined);
    const mean = (list: number[]) => list.reduce((sum, value) => sum + value, 0) / list.length;
    const figures = { iou1: mean(made[0]!.ious), [`iou${steps}`]: mean(made[steps - 1]!.ious) };
    const kept = owned.move();
    return {
      batch: { program, inputs, size: steps * users },
      figures,
      [Symbol.dispose]: () => kept[Symbol.dispose](),
    };
  }

  /** Lets the model as it is answer `count` prompts of each sample. */
  async #play(
    size: number,
    embedding: Tensor,
    players: ClickPlayer[],
    count: number,
    draws: Rng,
  ): Promise<ClickStep[]> {
    const { refine } = this.options;
    using owned = new Owned();
    const { state, device } = this.replica;
    const steps: ClickStep[] = [];
    let mask: Tensor | undefined;
    for (let k = 0; k < count; k++) {
      using stepOwned = new Owned();
      const tokens = players.map((player) => player.tokens);
      const prompts = this.#arrange(tokens);
      const program = await this.#decoder(size, prompts.tokens, mask !== undefined);
      const inputs = { state, embedding, ...this.#promptTensors(prompts, stepOwned) };
      const outputs = await program.run(mask ? { ...inputs, mask } : inputs);
      const full = stepOwned.add(outputs.full!);
      mask = owned.add(outputs.logits!);
      const masks = full.shape[1]!;
      const encoded = (await device.encodeMasks(full)).map(
        ({ counts }): Rle => ({ size: [full.shape[2]!, full.shape[3]!], counts: [...counts] }),
      );
      const ious = players.map((player, b) =>
        Array.from({ length: masks }, (_, m) => player.iou(encoded[b * masks + m]!)),
      );
      steps.push({
        tokens,
        logits: ((await mask.data()) as Float32Array).slice(),
        ious: ious.map(([first]) => first!),
        others: ious.map(([, ...rest]) => rest),
      });
      if (k + 1 === count) break;
      // Drawn before any click is placed: placing takes its time.
      const clicks = players.map(() => refine === 0 || !draws.chance(refine));
      await Promise.all(players.map((player, b) => clicks[b] && player.next(encoded[b * masks]!)));
    }
    return steps;
  }

  #arrange(lists: PromptToken[][]): PromptArrays {
    return arrange(lists, this.config.decoder);
  }

  #promptTensors({ count, tokens, points, labels, lengths }: PromptArrays, owned: Owned) {
    const { device } = this.replica;
    return {
      points: owned.add(device.tensor([count, tokens, 2], 'f32', points)),
      point_labels: owned.add(device.tensor([count, tokens], 'f32', labels)),
      lengths: owned.add(device.tensor([count], 'i32', lengths)),
    };
  }

  /** The embedding, and what its backward pass needs. */
  async #encode(size: number, inputs: Tensors, owned: Owned): Promise<Tensors> {
    const { state, device } = this.replica;
    // The halves' border does not depend on the prompts.
    const program = await this.#programs.get(`encoder ${size}`, () =>
      this.#half('first', size, TOKEN_BUCKET),
    );
    const spare = this.#spareOf(size);
    const kept =
      spare.pop() ??
      Object.fromEntries(
        program.plan.outputs.map(({ name, shape, dtype }) => [name, device.tensor(shape, dtype)]),
      );
    owned.add({ dispose: () => spare.push(kept) });
    return program.run({ state, ...inputs }, { into: kept });
  }

  #spareOf(size: number): Tensors[] {
    const spare = this.#spare.get(size) ?? [];
    this.#spare.set(size, spare);
    return spare;
  }

  #decoder(size: number, tokens: number, refine: boolean): Promise<Program> {
    const { batch, objects, compute } = this.options;
    const users = objects * batch;
    const { device, layout } = this.replica;
    const side = size / this.config.encoder.patchSize;
    const sides = [users, maskSide(size, this.config), maskSide(size, this.config)];
    const area = [size, size] as const;
    return this.#programs.get(`decoder ${size} ${tokens} ${refine}`, () =>
      forwardProgram(
        device,
        layout,
        (graph) => {
          const embedding = graph.input('embedding', [batch, side, side, this.config.decoder.dim]);
          const { masks } = maskLogits(
            graph,
            {
              embedding: repeated(graph, embedding, objects),
              points: graph.input('points', [users, tokens, 2]),
              labels: graph.input('point_labels', [users, tokens]),
              lengths: graph.input('lengths', [users], 'i32'),
              mask: refine ? graph.input('mask', sides) : undefined,
            },
            this.config,
            compute,
          );
          const first = slice(graph, masks, 1, 0, 1);
          return {
            logits: graph.reshape(first, sides),
            full: maskThreshold(graph, refine ? first : masks, {
              input: area,
              crop: area,
              original: area,
              threshold: 0,
            }),
          };
        },
        this.fixed,
      ),
    );
  }

  #gradient(size: number, tokens: number, refined: boolean): Promise<Program> {
    return this.#programs.get(`gradient ${size} ${tokens} ${refined}`, () =>
      this.#half('second', size, tokens, refined),
    );
  }

  #half(half: 'first' | 'second', size: number, tokens: number, refined = false): Promise<Program> {
    const { batch, objects, steps, focal, compute, recompute, dropPath } = this.options;
    const shape = { batch, height: size, width: size, tokens, objects, steps, refined, focal };
    const { device, layout } = this.replica;
    const options = { recompute, dropPath: dropPath > 0 };
    return gradientHalf(half, device, layout, clickLoss(this.config, shape, compute), this.fixed, options);
  }

  dispose(): void {
    this.#programs.clear();
    for (const kept of [...this.#spare.values()].flat())
      for (const tensor of Object.values(kept)) tensor.dispose();
    this.#spare.clear();
  }
}

/** 1 at the largest, 0 elsewhere. */
function marked(values: readonly number[]): number[] {
  const best = values.indexOf(Math.max(...values));
  return values.map((_, i) => (i === best ? 1 : 0));
}

/** Object m of sample b at m · B + b. */
function objectMasks(samples: readonly Sample[], objects: number): Uint8Array[] {
  return Array.from({ length: objects }, (_, m) =>
    samples.map(({ mask, others }) => [mask, ...others][m % (1 + others.length)]!),
  ).flat();
}
