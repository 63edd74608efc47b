export interface Schedule {
  /** Learning rate after the warm-up. */
  peak: number;
  warmup: number;
  /** Steps in all. */
  steps: number;
}

/** Where the warm-up starts, as a share of the peak. */
const WARMUP_START = 1e-6;

/** The published schedule: linear from 10⁻⁶ of the peak over the warm-up, then linear to 0. `step` counts from 0. */
export function learningRate(step: number, { peak, warmup, steps }: Schedule): number {
  if (step < warmup) return peak * (WARMUP_START + ((1 - WARMUP_START) * step) / warmup);
  return steps <= warmup ? peak : peak * Math.max(0, (steps - step) / (steps - warmup));
}
