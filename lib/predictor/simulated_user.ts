import { HrsamError } from '../errors.js';
import type { Rle } from '../image/rle.js';
import { Rng } from '../rng.js';
import { addon, pooled } from '../runtime/addon.js';
import type { Click } from './session.js';

export interface ClickRule {
  /**
   * `sfc_inner_k`, from 1: pixels deeper than the deepest one's distance / k may be clicked; 1: the deepest alone;
   * negative: the whole region.
   */
  innerK?: number;
  /** Rng among the candidates. Without it the first one in row order is taken. */
  seed?: number;
}

/** Everything about the next click of a simulated user, on the pixels' own indices. */
export interface ErrorRegions {
  /** 1: on the object, 0: on the background; undefined: the prediction is right. */
  label: 0 | 1 | undefined;
  deepestMissing: number;
  deepestExtra: number;
  /** y · width + x, ascending. */
  candidates: Uint32Array;
}

/**
 * The two ways in which a prediction is wrong and where the published simulation may click (HRSAM, arXiv 2407.02109):
 * in the region whose deepest pixel is further from its outside, the background's on equal terms; clicked pixels are
 * taken off first, and outside the picture counts as outside.
 * @throws HrsamError ERR_SHAPE, ERR_ARGUMENT
 */
export async function errorRegions(
  prediction: Rle,
  object: Rle,
  clicks: readonly Click[],
  innerK = 1,
): Promise<ErrorRegions> {
  const [height, width] = object.size;
  if (prediction.size[0] !== height || prediction.size[1] !== width) {
    throw new HrsamError('ERR_SHAPE', 'masks of different sizes', {
      expected: object.size,
      actual: prediction.size,
    });
  }
  // Between 0 and 1 not even the deepest pixel would do.
  if (!(innerK >= 1 || innerK < 0) || !Number.isFinite(innerK)) {
    throw new HrsamError('ERR_ARGUMENT', 'innerK', {
      expected: 'a number from 1, or a negative one',
      actual: innerK,
    });
  }
  const clicked = Uint32Array.from(clicks, ({ x, y }) => Math.floor(y) * width + Math.floor(x));
  const { label, ...rest } = await pooled(() =>
    addon().nextClick(
      Uint32Array.from(prediction.counts),
      Uint32Array.from(object.counts),
      height,
      width,
      clicked,
      innerK,
    ),
  );
  return { label: label === -1 ? undefined : label, ...rest };
}

/** A user who clicks where the prediction is most wrong. One per object: with a seed, its draws are its own. */
export class SimulatedUser {
  readonly #draws: Rng | undefined;
  readonly #innerK: number;

  constructor(
    readonly object: Rle,
    { innerK = 1, seed }: ClickRule = {},
  ) {
    this.#innerK = innerK;
    this.#draws = seed === undefined ? undefined : new Rng(seed);
  }

  /** The next click, on a pixel's own index as the published loop has it; undefined when nothing is wrong. */
  async next(prediction: Rle, clicks: readonly Click[]): Promise<Click | undefined> {
    const regions = await errorRegions(prediction, this.object, clicks, this.#innerK);
    const { label, candidates } = regions;
    if (label === undefined) return undefined;
    const pick = this.#draws?.below(candidates.length) ?? 0;
    const position = candidates[pick]!;
    const width = this.object.size[1];
    return { x: position % width, y: Math.floor(position / width), label };
  }
}
