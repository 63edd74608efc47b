import { overlap } from '../image/overlap.js';
import type { Rle } from '../image/rle.js';
import { rleArea } from '../image/rle.js';
import { addon, pooled } from '../runtime/addon.js';

/**
 * Intersection over union as the published evaluation has it: 0 without any object, whatever is predicted.
 * @throws HrsamError ERR_SHAPE
 */
export function maskIou(prediction: Rle, object: Rle): number {
  if (rleArea(object) === 0) return 0;
  const { intersection, union } = overlap(prediction, object);
  return intersection / union;
}

/** Python's round: halves go to the even neighbour. */
function roundHalfEven(value: number): number {
  const floor = Math.floor(value);
  const rest = value - floor;
  return rest > 0.5 || (rest === 0.5 && floor % 2 === 1) ? floor + 1 : floor;
}

/**
 * Boundary IoU (Cheng et al., CVPR 2021): IoU of the parts of both masks that lie within 2 % of the picture's diagonal
 * of their outline. 0 where neither has one.
 */
export async function boundaryIou(prediction: Rle, object: Rle, dilationRatio = 0.02): Promise<number> {
  const [height, width] = object.size;
  const radius = Math.max(1, roundHalfEven(dilationRatio * Math.sqrt(height * height + width * width)));
  const { intersection, union } = await pooled(() =>
    addon().boundaryOverlap(
      Uint32Array.from(prediction.counts),
      Uint32Array.from(object.counts),
      height,
      width,
      radius,
    ),
  );
  return union === 0 ? 0 : intersection / union;
}

/**
 * Clicks until the IoU reaches a threshold.
 * @param ious after 1, 2, … clicks
 * @returns undefined when it does not
 */
export function clicksUntil(ious: readonly number[], threshold: number): number | undefined {
  const index = ious.findIndex((iou) => iou >= threshold);
  return index < 0 ? undefined : index + 1;
}

export interface NumberOfClicks {
  /** Mean over objects; one whose threshold is not reached counts with the number of clicks made. */
  mean: number;
  /** Objects whose threshold is not reached. */
  failures: number;
}

/** NoC@threshold over objects. @param ious of each object, after 1, 2, … clicks */
export function numberOfClicks(ious: readonly (readonly number[])[], threshold: number): NumberOfClicks {
  const clicks = ious.map((row) => clicksUntil(row, threshold));
  const total = clicks.reduce<number>((sum, count, i) => sum + (count ?? ious[i]!.length), 0);
  return {
    mean: total / ious.length,
    failures: clicks.filter((count) => count === undefined).length,
  };
}

export const mean = (values: readonly number[]): number =>
  values.reduce((sum, value) => sum + value, 0) / values.length;
