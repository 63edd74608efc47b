import type { Mask } from './mask.js';

/** What answers in JSON say about a mask, in this order. */
export const maskJson = (mask: Mask) => ({
  index: mask.index,
  score: mask.score,
  area: mask.area,
  bbox: mask.bbox,
  rle: mask.compressedRle(),
});
