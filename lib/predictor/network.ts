import { createHash } from 'node:crypto';
import { HrsamError } from '../errors.js';
import { compile } from '../graph/compile.js';
import { Graph, type GraphOptions, type Value } from '../graph/graph.js';
import { bilinearResize } from '../graph/ops/bilinear_resize.js';
import { concat } from '../graph/ops/concat.js';
import { maskSummary } from '../graph/ops/mask_summary.js';
import { maskThreshold } from '../graph/ops/mask_threshold.js';
import { pad } from '../graph/ops/pad.js';
import { type PreprocessOptions, preprocess } from '../graph/ops/preprocess.js';
import { slice } from '../graph/ops/slice.js';
import type { Size } from '../image/resize.js';
import { computeType, type Precision } from '../model/layers.js';
import { encoder, refinedMaskLogits } from '../model/model.js';
import type { Device } from '../runtime/device.js';
import type { Shape } from '../runtime/dtype.js';
import { Owned } from '../runtime/owned.js';
import type { Program } from '../runtime/program.js';
import { ProgramCache } from '../runtime/programs.js';
import type { Tensor } from '../runtime/tensor.js';
import type { ImageConfig, ModelConfig } from '../weights/config.js';
import { expectedTensors } from '../weights/expected.js';
import { isReducible, toInternalName } from '../weights/names.js';
import type { WeightStore } from '../weights/store.js';

/** Encoders hold nothing but a folded position table each, decoders are small: this many shapes stay compiled. */
const KEPT_PROGRAMS = 24;

export interface PreprocessSizes {
  /** With zeros at the right and bottom before resizing. Default: the picture as it is. */
  padded?: Size;
  /** After resizing. */
  resized: Size;
  /** After padding. */
  input: Size;
}

/** What a picture's prompts and masks are mapped with. */
export interface PictureSizes extends PreprocessSizes {
  original: Size;
}

/** Cells of a mask's logits to a pixel of the picture. */
export const logitsPerPixel = (
  { original, padded = original, resized, input }: PictureSizes,
  { height, width }: Size,
): { x: number; y: number } => ({
  x: (resized.width / padded.width) * (width / input.width),
  y: (resized.height / padded.height) * (height / input.height),
});

const sides = ({ height, width }: Size) => [height, width] as const;

/** How a model wants its pictures. */
export const preprocessOptions = (
  { mean, std, resize, channelOrder }: ImageConfig,
  { resized, input }: PreprocessSizes,
): PreprocessOptions => ({
  size: sides(resized),
  padded: sides(input),
  mean,
  std,
  antialias: resize === 'antialias',
  swap: channelOrder === 'bgr',
});

/**
 * The evaluation's way (HRSAM, arXiv 2407.02109): zeros go to the normalised picture, which is resized with them, without
 * antialiasing.
 */
function preprocessPadded(
  graph: Graph,
  pixels: Value,
  image: ImageConfig,
  { resized, input }: PreprocessSizes,
  padded: Size,
): Value {
  const [height, width] = pixels.shape as [number, number, number];
  const options = preprocessOptions(image, { resized: { height, width }, input: padded });
  const size = sides(resized);
  const small = bilinearResize(graph, preprocess(graph, pixels, options), size, false);
  return sides(input).reduce((x, side, i) => (side === size[i] ? x : pad(graph, x, 2 + i, 0, side)), small);
}

export interface DecodeInputs {
  /** (P or 1, h, w, E) */
  embedding: Tensor;
  /** (P, n, 2) */
  points: Tensor;
  /** (P, n) */
  labels: Tensor;
  /** i32 (P): tokens that count, 1 + masks + points. */
  lengths: Tensor;
  /** (P or 1, H, W): logits of an earlier mask. */
  mask?: Tensor;
}

/** A model's weights on a device and its programs: tensors in, tensors out. */
export class Network {
  readonly #programs = new ProgramCache(KEPT_PROGRAMS);
  #disposed = false;
  #fingerprint?: string;

  constructor(
    readonly device: Device,
    readonly config: ModelConfig,
    readonly precision: Precision,
    readonly weights: WeightStore,
  ) {}

  /** A picture, u8 (H, W, channels) → (1, 3, h, w), resized, normalised and padded as the model's family does. */
  async preprocess(pixels: Tensor, sizes: PreprocessSizes, signal?: AbortSignal): Promise<Tensor> {
    const { padded, resized, input } = sizes;
    const { image } = this.config;
    const key = `preprocess ${pixels.shape} ${JSON.stringify([padded, resized, input])}`;
    const program = await this.#program(key, (graph) => {
      const picture = graph.input('pixels', pixels.shape, 'u8');
      const prepared = padded
        ? preprocessPadded(graph, picture, image, sizes, padded)
        : preprocess(graph, picture, preprocessOptions(image, sizes));
      graph.output('image', prepared);
    });
    return (await program.run({ pixels }, { signal })).image!;
  }

  /** @throws HrsamError ERR_OUT_OF_MEMORY where so many images of a shape (1, 3, H, W) cannot be encoded together */
  async checkRoom(count: number, shape: Shape): Promise<void> {
    (await this.#encoder(count, shape)).checkRoom();
  }

  #encoder(count: number, shape: Shape): Promise<Program> {
    const indices = Array.from({ length: count }, (_, i) => i);
    const build = (graph: Graph) => {
      const inputs = indices.map((i) => graph.input(`image${i}`, shape));
      const compute = computeType(this.precision);
      const embedding = encoder(graph, concat(graph, inputs, 0), this.config, compute);
      for (const i of indices) graph.output(`embedding${i}`, slice(graph, embedding, 0, i, i + 1));
    };
    return this.#program(`encode ${count} × ${shape}`, build, { fp8: this.precision === 'fp8' });
  }

  /** Normalised images (1, 3, H, W) of one size → their embeddings (1, h, w, E). */
  async encode(images: readonly Tensor[], signal?: AbortSignal): Promise<Tensor[]> {
    const program = await this.#encoder(images.length, images[0]!.shape);
    const outputs = await program.run(Object.fromEntries(images.map((image, i) => [`image${i}`, image])), {
      signal,
    });
    return images.map((_, i) => outputs[`embedding${i}`]!);
  }

  /** Prompts → logits of all masks (P, masks, 4h, 4w) and predicted IoUs (P, masks), after so many refinements of mask 0. */
  async decode(
    inputs: DecodeInputs,
    { refinements = 0, signal }: { refinements?: number; signal?: AbortSignal } = {},
  ): Promise<{ masks: Tensor; ious: Tensor }> {
    const { embedding, points, labels, lengths, mask } = inputs;
    const tensors = { embedding, points, labels, lengths, ...(mask && { mask }) };
    const key = Object.values(tensors).map(({ shape }) => shape);
    const name = `decode ${key.join(' ')} ${mask !== undefined} ${refinements}`;
    const program = await this.#program(name, (graph) => {
      const values = Object.fromEntries(
        Object.entries(tensors).map(([name, { shape, dtype }]) => [name, graph.input(name, shape, dtype)]),
      ) as Record<keyof DecodeInputs, Value>;
      const { masks, ious } = refinedMaskLogits(graph, values, this.config, refinements);
      graph.output('masks', masks);
      graph.output('ious', ious);
    });
    const { masks, ious } = await program.run(tensors, { signal });
    return { masks: masks!, ious: ious! };
  }

  /** Masks first … last of each prompt at the picture's size, u8 (P, last − first, H, W). */
  async threshold(
    logits: Tensor,
    [first, last]: readonly [number, number],
    { original, padded = original, resized, input }: PictureSizes,
    signal?: AbortSignal,
  ): Promise<Tensor> {
    const options = { input: sides(input), crop: sides(resized), original: sides(padded), threshold: 0 };
    const { height, width } = original;
    const key = [logits.shape, first, last, ...Object.values(options), height, width].join(' ');
    const program = await this.#program(`threshold ${key}`, (graph) => {
      const chosen = slice(graph, graph.input('logits', logits.shape), 1, first, last);
      const masks = maskThreshold(graph, chosen, options);
      graph.output('masks', slice(graph, slice(graph, masks, 2, 0, height), 3, 0, width));
    });
    return (await program.run({ logits }, { signal })).masks!;
  }

  /** Areas and edges of masks in the first rows and columns of their logits, (P, masks, 6): see `maskSummary`. */
  async summary(logits: Tensor, size: readonly [number, number], signal?: AbortSignal): Promise<Tensor> {
    const program = await this.#program(`summary ${logits.shape} ${size}`, (graph) => {
      graph.output('summary', maskSummary(graph, graph.input('logits', logits.shape), { size }));
    });
    return (await program.run({ logits }, { signal })).summary!;
  }

  /**
   * SHA-256 of what prompt encoder and decoder hold in full precision in every file: models that have it in common take
   * each other's embeddings.
   */
  async fingerprint(): Promise<string> {
    this.#fingerprint ??= await this.#hashed();
    return this.#fingerprint;
  }

  async #hashed(): Promise<string> {
    const tensors = expectedTensors(this.config, ['prompt', 'decoder'])
      .map(({ name, shape }) => ({ name: toInternalName(name), shape }))
      .filter((tensor) => !isReducible(tensor) && this.weights.find(tensor.name));
    const program = await this.#program('fingerprint', (graph) => {
      for (const { name, shape } of tensors) graph.output(name, graph.constant(name, shape));
    });
    const values = await program.run({});
    using owned = new Owned();
    for (const tensor of Object.values(values)) owned.add(tensor);
    const hash = createHash('sha256');
    for (const { name } of tensors) hash.update(name).update(await values[name]!.data());
    return hash.digest('hex');
  }

  /** @throws HrsamError ERR_WEIGHTS for a fingerprint of other weights. @param where what they made */
  async checkFingerprint(found: string | undefined, where: string): Promise<void> {
    if (found !== undefined && found !== (await this.fingerprint()))
      throw new HrsamError('ERR_WEIGHTS', 'an embedding of other weights', {
        where,
        expected: 'one that this model made',
      });
  }

  #program(key: string, build: (graph: Graph) => void, options?: GraphOptions): Promise<Program> {
    if (this.#disposed) throw new HrsamError('ERR_DISPOSED', 'the model was disposed');
    return this.#programs.get(key, () => {
      const graph = new Graph(options);
      build(graph);
      return compile(graph, this.device, this.weights);
    });
  }

  get disposed(): boolean {
    return this.#disposed;
  }

  dispose(): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#programs.clear();
    this.weights.dispose();
  }
}
