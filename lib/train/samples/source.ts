import type { Pixels } from '../../image/pixels.js';
import type { Box } from '../../image/rle.js';
import type { Rng } from '../../rng.js';

/** One object of a picture, before augmentation. */
export interface LabelledObject {
  /** RGB. */
  pixels: Pixels;
  /** height · width bytes, set where not 0. */
  mask: Uint8Array;
  /** Of the mask. */
  box: Box;
  /** Pixels set; at least 1. */
  area: number;
  /** Masks of further objects of the picture. */
  others: readonly Uint8Array[];
}

/** Where objects come from. */
export interface SampleSource {
  /** What errors call it. */
  readonly name: string;
  /** What a choice falls on that brings nothing. */
  readonly unusable: string;
  /**
   * An object chosen by the draws and nothing else; undefined where the choice fell on one that cannot be used.
   * @param others Further objects of the picture that are wanted, at most. Default 0.
   */
  draw(draws: Rng, others?: number): Promise<LabelledObject | undefined>;
}

export interface WeightedSource {
  source: SampleSource;
  /** How often, relative to the others'. */
  weight: number;
}

/** One of these, as often as its weight says. */
export const sourceFrom = (draws: Rng, sources: readonly WeightedSource[]): SampleSource =>
  sources[draws.weighted(sources.map(({ weight }) => weight))]!.source;

/** As SampleSource.draw, from one of these. */
export function drawnFrom(
  draws: Rng,
  sources: readonly WeightedSource[],
  others = 0,
): Promise<LabelledObject | undefined> {
  return sourceFrom(draws, sources).draw(draws, others);
}

/** `count` of these, or all where there are fewer. */
export function someOf<T>(draws: Rng, list: readonly T[], count: number): T[] {
  const left = [...list];
  while (left.length > count) left.splice(draws.below(left.length), 1);
  return left;
}

/** Box and area of a mask; undefined when it is empty. */
export function measure(mask: Uint8Array, width: number): Pick<LabelledObject, 'box' | 'area'> | undefined {
  let [x0, y0, x1, y1, area] = [width, -1, -1, -1, 0];
  for (let row = 0, y = 0; row < mask.length; row += width, y++) {
    let first = -1;
    let last = 0;
    for (let x = 0; x < width; x++) {
      if (mask[row + x] === 0) continue;
      if (first < 0) first = x;
      last = x + 1;
      area++;
    }
    if (first < 0) continue;
    if (y0 < 0) y0 = y;
    y1 = y + 1;
    x0 = Math.min(x0, first);
    x1 = Math.max(x1, last);
  }
  return area === 0 ? undefined : { box: [x0, y0, x1, y1], area };
}
