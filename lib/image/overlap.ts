import { HrsamError } from '../errors.js';
import type { Rle } from './rle.js';

/** Pixels of two masks, counted from their run lengths: the cost follows their outlines, not their areas. */
export interface Overlap {
  intersection: number;
  union: number;
}

/** Calls visit for stretches that are the same throughout in both masks. */
function eachStretch(a: Rle, b: Rle, visit: (length: number, inA: boolean, inB: boolean) => void): void {
  if (a.size[0] !== b.size[0] || a.size[1] !== b.size[1])
    throw new HrsamError('ERR_SHAPE', 'masks of different sizes', { expected: a.size, actual: b.size });
  let [i, j] = [0, 0];
  let leftA = a.counts[0] ?? 0;
  let leftB = b.counts[0] ?? 0;
  while (i < a.counts.length && j < b.counts.length) {
    const length = Math.min(leftA, leftB);
    if (length > 0) visit(length, i % 2 === 1, j % 2 === 1);
    leftA -= length;
    leftB -= length;
    if (leftA === 0) leftA = a.counts[++i] ?? 0;
    if (leftB === 0) leftB = b.counts[++j] ?? 0;
  }
}

/** @throws HrsamError ERR_SHAPE for masks of different sizes */
export function overlap(a: Rle, b: Rle): Overlap {
  let [intersection, union] = [0, 0];
  eachStretch(a, b, (length, inA, inB) => {
    if (inA && inB) intersection += length;
    if (inA || inB) union += length;
  });
  return { intersection, union };
}

/** Pixels of some kind of two masks: `keep(inA, inB)` says which. @throws HrsamError ERR_SHAPE */
export function combine(a: Rle, b: Rle, keep: (inA: boolean, inB: boolean) => boolean): Rle {
  const counts = [0];
  eachStretch(a, b, (length, inA, inB) => {
    // The last of an odd number of counts is a run of zeros.
    if (keep(inA, inB) === (counts.length % 2 === 0)) counts[counts.length - 1]! += length;
    else counts.push(length);
  });
  return { size: a.size, counts };
}

export const difference = (a: Rle, b: Rle): Rle => combine(a, b, (inA, inB) => inA && !inB);
export const union = (a: Rle, b: Rle): Rle => combine(a, b, (inA, inB) => inA || inB);

/** A mask without a pixel. */
export const emptyMask = (height: number, width: number): Rle => ({
  size: [height, width],
  counts: [height * width],
});
