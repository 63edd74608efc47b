import { HrsamError } from '../errors.js';
import { isWhole } from '../whole.js';

/** Height and width in pixels. */
export interface Size {
  /** Rows. */
  readonly height: number;
  /** Columns. */
  readonly width: number;
}

/**
 * The official size rule of SAM (ResizeLongestSide.get_preprocess_shape) and of HRSAM: the longest side becomes
 * `target`, the other int(side · (target / longest) + 0.5), in float64. The result may be 0: 1 x 3000 becomes
 * 0 x 1024. Rounding is part of the rule: 45 x 320 becomes 31 x 224, although 45 · 224 / 320 is exactly 31.5.
 */
export function officialLongestSide(height: number, width: number, target: number): Size {
  checkSides(height, width, target);
  const scale = target / Math.max(height, width);
  return { height: Math.trunc(height * scale + 0.5), width: Math.trunc(width * scale + 0.5) };
}

/** The official rule with sides of at least 1, so that a line of pixels remains a picture. */
export function longestSide(height: number, width: number, target: number): Size {
  const size = officialLongestSide(height, width, target);
  return { height: Math.max(1, size.height), width: Math.max(1, size.width) };
}

/**
 * Maps coordinates (x0, y0, x1, y1, …; points and boxes alike) of a picture of size `from` to one of size `to`, each
 * axis by its own ratio of the rounded sizes, in float64, as both official predictors do. With the arguments swapped
 * it is the inverse.
 */
export function scaleCoordinates(xy: ArrayLike<number>, from: Size, to: Size): Float64Array {
  const ratio = [to.width / from.width, to.height / from.height] as const;
  return Float64Array.from(xy, (value, i) => value * ratio[(i & 1) as 0 | 1]);
}

function checkSides(height: number, width: number, target: number): void {
  if (isWhole(height, 1) && isWhole(width, 1) && isWhole(target, 1)) return;
  throw new HrsamError('ERR_ARGUMENT', 'sizes are whole numbers from 1', {
    where: 'resize',
    actual: [height, width, target],
  });
}
