/**
 * How little a mask changes when its threshold moves: the area above threshold + offset over the area above
 * threshold − offset, 0 … 1 (SAM's calculate_stability_score, arXiv 2304.02643).
 * @param logits of one mask, at any size
 * @returns NaN when the larger area is empty, as the official code does
 */
export function stabilityScore(
  logits: ArrayLike<number>,
  { threshold = 0, offset = 1 }: { threshold?: number; offset?: number } = {},
): number {
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
