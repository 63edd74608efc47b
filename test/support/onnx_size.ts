import type { Size } from '../../lib/image/resize.js';

/**
 * The rule of SAM's ONNX wrapper (resize_longest_image_size): the same in float32, as
 * floor(side · ((1 / longest) · target) + 0.5). It parts from the official one on some sizes: 45 x 320 becomes
 * 32 x 224. The result may be 0.
 */
export function onnxLongestSide(height: number, width: number, target: number): Size {
  const round = Math.fround;
  const scale = round(round(1 / Math.max(height, width)) * target);
  const side = (length: number) => Math.floor(round(round(scale * length) + 0.5));
  return { height: side(height), width: side(width) };
}
