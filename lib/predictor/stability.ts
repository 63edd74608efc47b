import { HrsamError } from '../errors.js';
import { optionsOf } from '../options.js';

/** Options of `stabilityScore`, in logits. */
export interface StabilityOptions {
  /** What lies above it is mask. Default 0. */
  threshold?: number;
  /** How far the threshold is moved, to either side. Default 1. */
  offset?: number;
}

const checkOptions = optionsOf<StabilityOptions>({ threshold: true, offset: true });

/**
 * How little a mask changes when its threshold moves: the area above threshold + offset over the area above
 * threshold − offset, 0 … 1 (SAM's calculate_stability_score, arXiv 2304.02643).
 * @param logits of one mask, at any size, such as `mask.logits.data`
 * @returns NaN when the larger area is empty, as the official code does
 * @throws HrsamError ERR_ARGUMENT
 */
export function stabilityScore(logits: ArrayLike<number>, options: StabilityOptions = {}): number {
  checkOptions(options, 'stabilityScore');
  if (typeof logits !== 'object' || !(Number.isSafeInteger(logits?.length) && logits.length >= 0))
    throw new HrsamError('ERR_ARGUMENT', 'logits', {
      where: 'stabilityScore',
      expected: 'a list of numbers',
      actual: logits,
    });
  const { threshold = 0, offset = 1 } = options;
  for (const [name, value] of Object.entries({ threshold, offset }))
    if (!Number.isFinite(value))
      throw new HrsamError('ERR_ARGUMENT', name, {
        where: 'stabilityScore',
        expected: 'a number',
        actual: value,
      });
  // The official code compares float32 values with float32 limits.
  const [high, low] = [Math.fround(threshold + offset), Math.fround(threshold - offset)];
  let inner = 0;
  let outer = 0;
  for (let i = 0; i < logits.length; i++) {
    if (logits[i]! > high) inner++;
    if (logits[i]! > low) outer++;
  }
  return inner / outer;
}
