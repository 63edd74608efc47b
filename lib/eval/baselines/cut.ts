/** Enough for outlines to settle from the last click's solution. */
const ITERATIONS = 80;

/** Costs of parting neighbours: to the right and below, height · width each. */
export interface Edges {
  right: Float32Array;
  below: Float32Array;
}

/**
 * The smallest cut of a grid in its continuous form: u in [0, 1] that minimises Σ cost · u + Σ weight · |difference of
 * neighbours|. Its level sets are minimal cuts (Chan, Esedoglu and Nikolova, 2006); solved by Chambolle and Pock's
 * primal-dual steps (2011), from `u` as it is.
 * @param cost of a pixel inside against outside
 * @param u start and result
 */
export function relaxedCut(
  cost: Float32Array,
  { right, below }: Edges,
  u: Float32Array,
  [height, width]: readonly [number, number],
): void {
  const count = height * width;
  // Dual variables are bounded by the weights, u by 1: steps in that proportion reach both in equal time.
  const strength = right.reduce((sum, weight) => sum + weight, 0) / count || 1;
  const [tau, sigma] = [1 / (Math.sqrt(8) * strength), strength / Math.sqrt(8)];
  const flowRight = new Float32Array(count);
  const flowBelow = new Float32Array(count);
  const ahead = Float32Array.from(u);
  for (let iteration = 0; iteration < ITERATIONS; iteration++) {
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const here = ahead[i]!;
        if (x + 1 < width) flowRight[i] = clamp(flowRight[i]! + sigma * (ahead[i + 1]! - here), right[i]!);
        if (y + 1 < height)
          flowBelow[i] = clamp(flowBelow[i]! + sigma * (ahead[i + width]! - here), below[i]!);
      }
    }
    for (let y = 0, i = 0; y < height; y++) {
      for (let x = 0; x < width; x++, i++) {
        const out = flowRight[i]! + flowBelow[i]!;
        const into = (x > 0 ? flowRight[i - 1]! : 0) + (y > 0 ? flowBelow[i - width]! : 0);
        const before = u[i]!;
        const after = Math.min(1, Math.max(0, before + tau * (out - into - cost[i]!)));
        u[i] = after;
        ahead[i] = 2 * after - before;
      }
    }
  }
}

const clamp = (value: number, bound: number): number => Math.min(bound, Math.max(-bound, value));
