import { HrsamError } from '../errors.js';
import type { Size } from '../image/resize.js';
import { optionsOf } from '../options.js';
import { Owned } from '../runtime/owned.js';
import type { Tensor } from '../runtime/tensor.js';
import { type DecodedPrompts, decodePrompts, promptsPerRun } from './decode.js';
import { type Candidate, type FoundMask, findCandidates } from './everything.js';
import type { EverythingOptions } from './everything_options.js';
import { Mask } from './mask.js';
import type { Network, PictureSizes } from './network.js';
import { checkFields, checkPrompts, type MaskLogits, type Prompt } from './prompts.js';
import { checkMinRegion, keepClicked } from './regions.js';
import { checkMultimask, checkRefinements, chooseMasks, type Multimask } from './select.js';
import { ClickSession } from './session.js';
import type { Zoom } from './zoom.js';

/** How a prompt, or a list of prompts, is answered. */
export interface SegmentOptions {
  /** Which masks to return; default `false`: one per prompt. */
  multimask?: Multimask;
  /**
   * How often an answer goes back to the model as the same prompt's mask before it is given, 0 to 8: each takes as long as
   * the answer itself. For one mask per prompt (`multimask: false`) alone, and for prompts that bring no mask: one that
   * does refines an earlier answer as it is. Default: what the model was made for, 0 for published ones.
   */
  refinements?: number;
  /**
   * Takes parts off a mask that lie apart from its clicks: connected regions without a click on the object that are smaller
   * than this share of the largest region with one, 0 (none) to 1. In `logits` their sign changes, and there they are told
   * apart: specks of the picture's pixels may stay. For one mask per prompt (`multimask: false`) alone. Default: what the
   * model was made for, 0 for published ones.
   */
  minRegion?: number;
  /** Ends the work with ERR_ABORTED while it is queued or between two layers. */
  signal?: AbortSignal;
}

const checkSegmentOptions = optionsOf<SegmentOptions>({
  multimask: true,
  refinements: true,
  minRegion: true,
  signal: true,
});

/** Everything about one picture in one argument: a prompt, several boxes, and options. */
export interface SegmentRequest extends Prompt, SegmentOptions {
  /** Several boxes, one mask each; not together with points, `box` or `mask`. */
  boxes?: readonly NonNullable<Prompt['box']>[];
}

const REQUEST_FIELDS: ReadonlySet<string> = new Set<keyof SegmentRequest>([
  'points',
  'labels',
  'box',
  'boxes',
  'mask',
  'multimask',
  'refinements',
  'minRegion',
  'signal',
]);

/** The masks for one prompt; at least one. */
export type Masks = [Mask, ...Mask[]];

/** Of the masks of one run of the decoder, at most, in the picture's size. */
const MASK_BYTES = 2 ** 28;

/** A picture after the encoder: prompt it as often as you like. Dispose it to free its embedding. */
export class EncodedImage {
  readonly #network: Network;
  /** Requests under way. */
  #uses = 0;
  #disposed = false;
  /** The picture, as its EXIF orientation has it: prompts and masks are in its pixels. */
  readonly original: Size;
  /** The picture as the model sees it, before padding. */
  readonly resized: Size;
  /** The model's input, padding included. */
  readonly input: Size;
  /** @internal What was resized: the picture with its zeros where they come first, else the picture. */
  readonly padded: Size;

  /** @internal Made by `model.encode()`. */
  constructor(
    network: Network,
    /** (1, h, w, E) f32; in published models h and w are a sixteenth of `input`, and E is 256. */
    readonly embedding: Tensor,
    sizes: PictureSizes,
    /** @internal The same picture at the model's own size, where answers are made there first. It is disposed with this one. */
    readonly coarse?: EncodedImage,
    /** @internal Makes answers again on the part of the picture around them. */
    readonly zoom?: Zoom,
  ) {
    this.#network = network;
    this.original = sizes.original;
    this.resized = sizes.resized;
    this.input = sizes.input;
    this.padded = sizes.padded ?? sizes.original;
  }

  /** @internal The model that made it, or brought it back. */
  get network(): Network {
    return this.#network;
  }

  /** Bytes of memory it holds, its picture's where that is kept (`zoom`). */
  get bytes(): number {
    return this.embedding.bytes + (this.coarse?.bytes ?? 0) + (this.zoom?.bytes ?? 0);
  }

  /** Whether `dispose()` was called: nothing more can be asked then. */
  get disposed(): boolean {
    return this.#disposed;
  }

  /**
   * Masks for one prompt, for several boxes, or for a list of prompts (answered together, in order).
   * @throws HrsamError ERR_PROMPT, ERR_ARGUMENT, ERR_DISPOSED, ERR_ABORTED
   */
  async segment(request: SegmentRequest): Promise<Masks>;
  async segment(prompts: readonly Prompt[], options?: SegmentOptions): Promise<Masks[]>;
  async segment(
    request: SegmentRequest | readonly Prompt[],
    options: SegmentOptions = {},
  ): Promise<Masks | Masks[]> {
    checkSegmentOptions(options, 'segment');
    if (Array.isArray(request)) return this.#segmentAll(request as readonly Prompt[], options);
    if (request && Object.values(options).some((option) => option !== undefined)) {
      throw new HrsamError('ERR_ARGUMENT', 'options of a single prompt are fields of it', {
        where: 'segment',
        expected: '{ points, multimask, … } alone',
        actual: Object.keys(options),
      });
    }
    return (await this.eachMask(request as SegmentRequest, async (mask) => mask)) as Masks;
  }

  /**
   * @internal Of `segment` what is made of each mask: it is read before those of the next run of the decoder are there, as
   * by `eachFound`.
   */
  async eachMask<Answer>(request: SegmentRequest, read: (mask: Mask) => Promise<Answer>): Promise<Answer[]> {
    if (typeof request !== 'object' || request === null) {
      throw new HrsamError('ERR_PROMPT', 'no prompt', {
        expected: '{ points, labels, box, boxes, mask } or a list of prompts',
        actual: request,
      });
    }
    checkFields(request, REQUEST_FIELDS, 'prompt');
    const { points, labels, box, mask, boxes, multimask, refinements, minRegion, signal } = request;
    const own = { multimask, refinements, minRegion, signal };
    const prompt = { points, labels, box, mask };
    const answers = async (prompts: readonly Prompt[], where: (i: number) => string) =>
      (await this.use(() => this.#answers(prompts, own, where, (masks) => inTurn(masks, read)))).flat();
    if (boxes === undefined) return answers([prompt], () => 'prompt');
    if (!Array.isArray(boxes)) {
      throw new HrsamError('ERR_PROMPT', 'boxes', { expected: 'a list of [x0, y0, x1, y1]', actual: boxes });
    }
    if (Object.values(prompt).some((part) => part !== undefined)) {
      throw new HrsamError('ERR_PROMPT', 'several boxes are prompts of their own', {
        expected: 'boxes alone, or a list of prompts',
        actual: Object.keys(request),
      });
    }
    return answers(
      boxes.map((one) => ({ box: one })),
      (i) => `boxes[${i}]`,
    );
  }

  /**
   * All that can be found by clicking everywhere, SAM's automatic masks (arXiv 2304.02643, section 4): a grid of clicks,
   * three masks each, of which those stay that the model is sure of and that no better one covers. The best come first.
   *
   * What stays is decided on the decoder's own masks, a quarter of the model's input; only what is returned is ever made
   * in the picture's size. Takes about as long as the same number of clicks.
   * @throws HrsamError ERR_ARGUMENT, ERR_DISPOSED, ERR_ABORTED
   */
  async everything(options: EverythingOptions = {}): Promise<FoundMask[]> {
    return this.eachFound(options, Infinity, async (found) => found);
  }

  /**
   * @internal Of `everything` the best, what is made of each: a mask is read before those of the next run of the decoder
   * are there, so that not all of their logits are in memory.
   */
  async eachFound<Answer>(
    options: EverythingOptions,
    most: number,
    read: (found: FoundMask) => Promise<Answer>,
  ): Promise<Answer[]> {
    return this.use(() => this.#eachFound(options, most, read));
  }

  async #eachFound<Answer>(
    options: EverythingOptions,
    most: number,
    read: (found: FoundMask) => Promise<Answer>,
  ): Promise<Answer[]> {
    const candidates = (await findCandidates(this.#network, this, options)).slice(0, most);
    // Decoded again, in their own size: to have kept all candidates would take more memory than this takes time.
    const wanted = new Map<Candidate['point'], Candidate[]>();
    for (const one of candidates) wanted.set(one.point, [...(wanted.get(one.point) ?? []), one]);
    const groups = [...wanted.values()];
    const prompts = [...wanted.keys()].map((point) => ({ points: [point] }));
    const { signal } = options;
    const answers = new Map<Candidate, Answer>();
    await this.#answer(prompts, true, { passes: 0, signal }, async (decoded, asked) => {
      const chosen = asked.map((i) => groups[i]!);
      const indices = chosen.map((group) => group.map(({ index }) => index));
      const masks = (await this.#masks(decoded, indices, signal)).flat();
      for (const [i, candidate] of chosen.flat().entries()) {
        const { point, stability } = candidate;
        answers.set(candidate, await read({ mask: masks[i]!, stability, point }));
      }
      return [];
    });
    return candidates.map((candidate) => answers.get(candidate)!);
  }

  /** Interactive clicks: each is decoded with all earlier ones and the last logits. */
  session(): ClickSession {
    return new ClickSession(this);
  }

  /** @internal Work with the embedding, which stays until it has ended. @throws HrsamError ERR_DISPOSED */
  async use<T>(work: () => Promise<T>): Promise<T> {
    if (this.#disposed) throw new HrsamError('ERR_DISPOSED', 'the encoded image was disposed');
    this.#uses++;
    try {
      return await work();
    } finally {
      this.#uses--;
      this.#free();
    }
  }

  #free(): void {
    if (!this.#disposed || this.#uses > 0) return;
    this.coarse?.dispose();
    this.zoom?.dispose();
    this.embedding.dispose();
  }

  async #segmentAll(prompts: readonly Prompt[], options: SegmentOptions): Promise<Masks[]> {
    return this.use(() => this.masksOf(prompts, options));
  }

  /** @internal `segment` within `use`. */
  async masksOf(
    prompts: readonly Prompt[],
    options: SegmentOptions,
    where = (i: number) => `prompts[${i}]`,
  ): Promise<Masks[]> {
    return this.#answers(prompts, options, where, async (masks) => masks);
  }

  /** What `read` makes of each prompt's masks. */
  async #answers<Answer>(
    prompts: readonly Prompt[],
    { multimask = false, refinements, minRegion, signal }: SegmentOptions,
    where: (i: number) => string,
    read: (masks: Masks) => Promise<Answer>,
  ): Promise<Answer[]> {
    checkMultimask(multimask);
    checkRefinements(refinements);
    checkMinRegion(minRegion);
    const { decoder } = this.#network.config;
    const passes = multimask === false ? (refinements ?? decoder.refinements ?? 0) : 0;
    const share = multimask === false ? (minRegion ?? decoder.minRegion ?? 0) : 0;
    let asked = checkPrompts(prompts, this.original, where);
    if (this.coarse && multimask === false) {
      const masks = await this.coarse.#firstMasks(asked, passes, signal);
      asked = asked.map((prompt, i) => ({ ...prompt, mask: masks[i]! }));
    }
    return this.#answer(asked, multimask, { passes, signal }, async (decoded, indices) => {
      const prompted = indices.map((i) => asked[i]!);
      if (share > 0) await keepClicked(decoded, prompted, this, share);
      const { ious, masksPerPrompt, sparseEntries } = decoded;
      const chosen = sparseEntries.map((entries, p) =>
        chooseMasks(ious.subarray(p * masksPerPrompt, (p + 1) * masksPerPrompt), multimask, entries),
      );
      const found = (await this.#masks(decoded, chosen, signal)) as Masks[];
      const { zoom } = this;
      if (!zoom || multimask !== false) return inTurn(found, read);
      return inTurn([...found.entries()], async ([p, [first]]) =>
        read([await zoom.answer(prompted[p]!, first, this, { minRegion: share, signal })]),
      );
    });
  }

  /** The decoder's own first answers. */
  #firstMasks(prompts: readonly Prompt[], passes: number, signal?: AbortSignal): Promise<MaskLogits[]> {
    return this.#answer(
      prompts,
      false,
      { passes, signal },
      async ({ logits, masksPerPrompt, sparseEntries }) => {
        const own = await eachMask(logits);
        return sparseEntries.map((_, p) => own(p * masksPerPrompt));
      },
    );
  }

  /**
   * Decodes prompts run by run.
   * @param read an answer for each prompt of a run; `indices` are their places among all
   * @returns the answers in the prompts' order
   */
  async #answer<Answer>(
    prompts: readonly Prompt[],
    multimask: Multimask,
    { passes, signal }: { passes: number; signal?: AbortSignal },
    read: (decoded: DecodedPrompts, indices: readonly number[]) => Promise<Answer[]>,
  ): Promise<Answer[]> {
    const results: Answer[] = new Array(prompts.length);
    for (const indices of this.#runs(prompts, multimask)) {
      using owned = new Owned();
      const asked = indices.map((i) => prompts[i]!);
      const options = { refinements: asked[0]!.mask ? 0 : passes, signal };
      const decoded = await decodePrompts(this.#network, this, asked, owned, options);
      const answers = await read(decoded, indices);
      for (const [k, i] of indices.entries()) results[i] = answers[k]!;
    }
    return results;
  }

  /** Indices of prompts that are answered in one run of the decoder each. */
  #runs(prompts: readonly Prompt[], multimask: Multimask): number[][] {
    // One program takes prompts with a mask or prompts without: the two kinds are decoded apart and put back in order.
    const kinds = [
      prompts.map((_, i) => i).filter((i) => !prompts[i]!.mask),
      prompts.map((_, i) => i).filter((i) => prompts[i]!.mask),
    ];
    return kinds.flatMap((kind) => this.#groups(kind, multimask));
  }

  /** Prompts that are answered together: their masks, a byte a pixel before they are run lengths, take memory. */
  #groups(indices: readonly number[], multimask: Multimask): number[][] {
    const masks = multimask === false ? 1 : 1 + this.#network.config.decoder.multimaskOutputs;
    const bytes = masks * this.original.height * this.original.width;
    const most = promptsPerRun(this.#network, this.embedding);
    const count = Math.min(most, Math.max(1, Math.floor(MASK_BYTES / bytes)));
    return Array.from({ length: Math.ceil(indices.length / count) }, (_, i) =>
      indices.slice(i * count, (i + 1) * count),
    );
  }

  /** Masks in the picture's size. @param chosen which of each prompt's masks */
  async #masks(
    { logits, ious, masksPerPrompt }: DecodedPrompts,
    chosen: readonly (readonly number[])[],
    signal?: AbortSignal,
  ): Promise<Mask[][]> {
    const first = Math.min(...chosen.flat());
    const last = 1 + Math.max(...chosen.flat());
    using full = await this.#network.threshold(logits, [first, last], this, signal);
    const encodings = await this.#network.device.encodeMasks(full);
    const low = await eachMask(logits);
    const { height, width } = this.original;
    return chosen.map((indices, p) =>
      indices.map((index) => {
        const { area, bbox, counts } = encodings[p * (last - first) + index - first]!;
        const at = p * masksPerPrompt + index;
        const rle = { size: [height, width] as [number, number], counts: [...counts] };
        return new Mask(index, ious[at]!, area, bbox, rle, low(at));
      }),
    );
  }

  /**
   * Frees the embedding once the requests under way have ended, clicks of sessions that wait for others too. Doing it
   * twice is harmless.
   */
  dispose(): void {
    this.#disposed = true;
    this.#free();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}

/** What is made of each, one after the other. */
async function inTurn<T, Made>(list: readonly T[], make: (each: T) => Promise<Made>): Promise<Made[]> {
  const made: Made[] = [];
  for (const each of list) made.push(await make(each));
  return made;
}

/** Brings logits (P, M, H, W) to the host. @returns those of the mask at p × M + m */
async function eachMask(logits: Tensor): Promise<(at: number) => MaskLogits> {
  const [, , height, width] = logits.shape as [number, number, number, number];
  const data = (await logits.data()) as Float32Array;
  return (at) => ({ data: data.slice(at * height * width, (at + 1) * height * width), height, width });
}
