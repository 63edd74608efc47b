import type { Pixels } from '../image/pixels.js';
import type { Box, Rle } from '../image/rle.js';
import type { HRSAM } from '../predictor/hrsam.js';
import { idlest } from '../predictor/idlest.js';
import type { EncodedImage, SegmentOptions } from '../predictor/image.js';
import type { MaskLogits } from '../predictor/prompts.js';
import type { Click } from '../predictor/session.js';

/** What is asked of a method at one step of one object. */
export interface Step {
  clicks: readonly Click[];
  box?: Box;
  /** The object's own box, for a baseline that is told the object's size. */
  truth: Box;
  /** What the method returned at the step before. */
  previous?: Answer;
  signal?: AbortSignal;
}

export interface Answer {
  mask: Rle;
  /** IoU as the method predicts it. */
  score?: number;
  /** A model's own, for the next step. */
  logits?: MaskLogits;
}

/** A picture made ready for prompts. */
export interface OpenedPicture extends Disposable {
  answer(step: Step): Promise<Answer>;
}

/** Something that segments by clicks: a model, or a baseline to compare it with. */
export interface Method {
  readonly name: string;
  open(picture: Pixels, signal?: AbortSignal): Promise<OpenedPicture>;
}

/** Pictures are padded to multiples of it before they are resized, as the published configurations of the evaluation do. */
export const SIZE_DIVISOR = 32;

/**
 * The model as it is published: each click with all earlier ones and the last low-resolution logits. Of one's weights on
 * several devices a picture is taken by the one with the fewest.
 */
export class ModelMethod implements Method {
  readonly name: string;
  /** Pictures that are open. */
  readonly #open: Map<HRSAM, number>;

  constructor(
    models: readonly [HRSAM, ...HRSAM[]],
    readonly options: {
      size?: number;
      refinements?: number;
      minRegion?: number;
      coarse?: number;
      zoom?: boolean;
    } = {},
  ) {
    this.name = models[0].config.family;
    this.#open = new Map(models.map((model) => [model, 0]));
  }

  async open(picture: Pixels, signal?: AbortSignal): Promise<OpenedPicture> {
    const { size, refinements, minRegion, coarse, zoom } = this.options;
    const coarseToFine = coarse !== undefined;
    const model = idlest(this.#open);
    const count = (by: number) => this.#open.set(model, this.#open.get(model)! + by);
    count(1);
    try {
      const image = await model.encode(picture, {
        size,
        coarseToFine,
        zoom,
        divisor: SIZE_DIVISOR,
        signal,
      });
      return new ModelPicture(image, { refinements, minRegion }, () => count(-1));
    } catch (error) {
      count(-1);
      throw error;
    }
  }
}

/** An encoded picture under the rules of a click session, with a box that stays in the prompt where there is one. */
export class ModelPicture implements OpenedPicture {
  constructor(
    readonly image: EncodedImage,
    readonly options: Pick<SegmentOptions, 'refinements' | 'minRegion'> = {},
    readonly onClose = () => {},
  ) {}

  async answer({ clicks, box, previous, signal }: Step): Promise<Answer> {
    const [mask] = await this.image.segment({
      points: clicks.map(({ x, y }) => [x, y] as const),
      labels: clicks.map(({ label }) => label),
      box,
      mask: previous?.logits,
      ...this.options,
      signal,
    });
    return { mask: mask!.rle, score: mask!.score, logits: mask!.logits };
  }

  [Symbol.dispose](): void {
    this.image.dispose();
    this.onClose();
  }
}
