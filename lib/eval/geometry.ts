import { type Rle, rleBox } from '../image/rle.js';

/** x0, y0, x1, y1 in corners of pixels: the last two lie behind the last pixels. */
export type Box = readonly [number, number, number, number];

/** The box that encloses a mask. */
export function boxOf(mask: Rle): Box {
  const [x0, y0, x1, y1] = rleBox(mask);
  return [x0, y0, x1 + 1, y1 + 1];
}
