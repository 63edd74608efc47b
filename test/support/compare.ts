import { expect } from 'vitest';

export interface Difference {
  /** L2 norm of the difference over the L2 norm of the expected values; over 1 where those are all zero. */
  relL2: number;
  maxAbs: number;
  /** Elements that are NaN or infinite. */
  nonFinite: number;
}

type Numbers = ArrayLike<number>;

export function difference(actual: Numbers, expected: Numbers): Difference {
  let squares = 0;
  let norm = 0;
  let maxAbs = 0;
  let nonFinite = 0;
  for (let i = 0; i < expected.length; i++) {
    const error = actual[i]! - expected[i]!;
    if (!Number.isFinite(error)) nonFinite++;
    else {
      squares += error * error;
      maxAbs = Math.max(maxAbs, Math.abs(error));
    }
    norm += expected[i]! * expected[i]!;
  }
  return { relL2: Math.sqrt(squares / (norm || 1)), maxAbs, nonFinite };
}

/** How far an ordinary float32 implementation is from the reference, as its files state it. */
export interface Noise {
  /** Of ops.json and of the models' case.json: relative L2. */
  rel_l2?: number;
  /** Of the SAM cases: relative RMS, which is the same measure. */
  fp64_rel_rms?: number;
  /** Of the SAM cases: largest absolute difference that their README allows. */
  atol?: number;
}

/** Below this relative L2 no case is held to its own noise. */
const FLOOR = 1e-5;

/** Ten times the noise that the reference states, as it recommends; never looser. */
export function expectClose(actual: Numbers, expected: Numbers, noise: Noise, what = 'values'): void {
  const limit = Math.max(10 * (noise.rel_l2 ?? noise.fp64_rel_rms ?? 0), FLOOR);
  expectWithin(actual, expected, { relL2: limit, maxAbs: noise.atol }, what);
}

/** Each value is the expected one, rounded once to bf16: within 2⁻⁸ of it, and the floor of f32 arithmetic. */
export function expectRounded(actual: Numbers, expected: Numbers, what = 'values'): void {
  const values = Array.from(expected);
  const rms = Math.sqrt(values.reduce((sum, value) => sum + value * value, 0) / values.length);
  expect(actual.length, `number of ${what}`).toBe(values.length);
  const worst = values.reduce((most, value, i) => {
    const excess = Math.abs(actual[i]! - value) / (Math.abs(value) / 256 + FLOOR * rms);
    return excess > most || Number.isNaN(excess) ? excess : most;
  }, 0);
  expect(worst, `${what}: largest difference, in roundings to bf16`).toBeLessThanOrEqual(1);
}

/** Relative L2 that a whole model may differ by in bf16. */
export const BF16_MODEL = 1.5e-2;

export function expectWithin(
  actual: Numbers,
  expected: Numbers,
  limits: { relL2: number; maxAbs?: number },
  what = 'values',
): void {
  expect(actual.length, `number of ${what}`).toBe(expected.length);
  const { relL2, maxAbs, nonFinite } = difference(actual, expected);
  const measured = `${what}: relative L2 ${relL2.toExponential(2)}, at most ${maxAbs.toExponential(2)} apart`;
  expect(nonFinite, `${measured}; NaN or infinite`).toBe(0);
  expect(relL2, measured).toBeLessThanOrEqual(limits.relL2);
  if (limits.maxAbs !== undefined) expect(maxAbs, measured).toBeLessThanOrEqual(limits.maxAbs);
}
