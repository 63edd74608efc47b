import { describe, expect, it } from 'vitest';
import { apart } from '../../lib/image/plot.js';

describe('labels of curves', () => {
  it('stay where they are while there is room', () => {
    expect(apart([100, 20, 60], 200)).toEqual([100, 20, 60]);
  });

  it('cover no other, in the order of their curves, inside the picture', () => {
    for (const heights of [
      [50, 50, 50],
      [200, 200, 199],
      [190, 198, 20, 200],
    ]) {
      const moved = apart(heights, 200);
      const order = heights.map((_, i) => i).sort((a, b) => heights[a]! - heights[b]!);
      for (const [k, i] of order.entries())
        if (k > 0) expect(moved[i]! - moved[order[k - 1]!]!).toBeGreaterThanOrEqual(15);
      expect(Math.max(...moved)).toBeLessThanOrEqual(200);
    }
  });
});
