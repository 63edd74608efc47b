import type { Box, Rle } from '../../image/rle.js';
import type { Method } from '../method.js';

/** A rectangle's mask; corners are cut to whole pixels inside the picture. */
export function boxMask([x0, y0, x1, y1]: Box, height: number, width: number): Rle {
  const whole = (value: number, most: number) => Math.min(most, Math.max(0, Math.round(value)));
  const [left, right] = [whole(x0, width), whole(x1, width)];
  const [top, bottom] = [whole(y0, height), whole(y1, height)];
  if (left >= right || top >= bottom) return { size: [height, width], counts: [height * width] };
  const after = height * width - (right - 1) * height - bottom;
  // Columns that are full from top to bottom are one run.
  const columns = bottom - top === height ? 1 : right - left;
  const run = columns === 1 ? (right - left - 1) * height + bottom - top : bottom - top;
  const counts = [left * height + top];
  for (let i = 0; i < columns; i++) counts.push(run, i + 1 < columns ? height - run : after);
  return { size: [height, width], counts };
}

/** A box of the object's size in the middle of the positive clicks: what knowing the size alone is worth. */
export class BoxBaseline implements Method {
  readonly name = 'box';

  async open({ height, width }: { height: number; width: number }) {
    return {
      answer: async ({ clicks, truth }: { clicks: readonly Placed[]; truth: Box }) => {
        const positive = clicks.filter(({ label }) => label === 1);
        const count = Math.max(1, positive.length);
        const middle = (axis: 'x' | 'y') =>
          positive.reduce((sum, click) => sum + click[axis] + 0.5, 0) / count;
        const [halfWidth, halfHeight] = [(truth[2] - truth[0]) / 2, (truth[3] - truth[1]) / 2];
        const [x, y] = [middle('x'), middle('y')];
        const box: Box = [x - halfWidth, y - halfHeight, x + halfWidth, y + halfHeight];
        return { mask: boxMask(positive.length > 0 ? box : truth, height, width) };
      },
      [Symbol.dispose]() {},
    };
  }
}

interface Placed {
  x: number;
  y: number;
  label: 0 | 1;
}
