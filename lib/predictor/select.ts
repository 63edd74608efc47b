import { HrsamError } from '../errors.js';
import { MAX_REFINEMENTS } from '../weights/limits.js';

/**
 * Which of the decoder's masks are returned:
 * - `false`: mask 0, trained for prompts that leave no doubt, and for refining clicks;
 * - `true`: masks 1 … n, the alternatives for an ambiguous prompt (whole, part, subpart);
 * - `'best'`: of all masks the one with the highest predicted IoU;
 * - `'auto'`: SAM's ONNX rule: the best of masks 1 … n for a single click or a lone box, mask 0 beyond.
 */
export type Multimask = boolean | 'best' | 'auto';

/** @throws HrsamError ERR_ARGUMENT */
export function checkMultimask(multimask: unknown): void {
  if (typeof multimask === 'boolean' || multimask === 'best' || multimask === 'auto') return;
  throw new HrsamError('ERR_ARGUMENT', 'multimask', {
    expected: "false, true, 'best' or 'auto'",
    actual: multimask,
  });
}

/** @throws HrsamError ERR_ARGUMENT */
export function checkRefinements(count: unknown): void {
  if (count === undefined) return;
  if (Number.isInteger(count) && (count as number) >= 0 && (count as number) <= MAX_REFINEMENTS) return;
  throw new HrsamError('ERR_ARGUMENT', 'refinements', {
    expected: `a whole number from 0 to ${MAX_REFINEMENTS}`,
    actual: count,
  });
}

/** Index of the largest value, the first on ties. */
export function indexOfLargest(values: ArrayLike<number>, from = 0): number {
  let best = from;
  for (let i = from + 1; i < values.length; i++) if (values[i]! > values[best]!) best = i;
  return best;
}

/**
 * SAM's ONNX wrapper, select_masks. It weighs by how many sparse entries there are, padding point and box corners
 * included: two or fewer take the best alternative.
 * @param scores of all masks: predicted IoUs, or stability scores
 */
export function selectAsOnnx(scores: ArrayLike<number>, sparseEntries: number): number {
  return sparseEntries <= 2 && scores.length > 1 ? indexOfLargest(scores, 1) : 0;
}

/** Indices of the masks to return. */
export function chooseMasks(ious: ArrayLike<number>, multimask: Multimask, sparseEntries: number): number[] {
  if (multimask === false || ious.length === 1) return [0];
  if (multimask === true) return Array.from({ length: ious.length - 1 }, (_, i) => 1 + i);
  return [multimask === 'best' ? indexOfLargest(ious) : selectAsOnnx(ious, sparseEntries)];
}
