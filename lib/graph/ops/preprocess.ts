import { optionsOf } from '../../options.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const preprocessOp: OpDefinition = {
  name: 'preprocess',
  operands: ['pixels'],
  attributes: { size: 'list', padded: 'list', mean: 'list', std: 'list', antialias: 'flag', swap: 'flag' },
  infer({ operands, attributes, fail }) {
    const { pixels } = operands as Record<string, Value>;
    const [h, w] = attributes.size as number[];
    const [padH, padW] = attributes.padded as number[];
    if (pixels!.shape.length !== 3 || pixels!.dtype !== 'u8' || ![1, 3, 4].includes(pixels!.shape[2]!))
      return fail('pixels u8 (H, W, 1, 3 or 4)');
    if (!(h! >= 1 && w! >= 1 && padH! >= h! && padW! >= w!))
      return fail('a size of at least 1 × 1, padded to no less');
    return { shape: [1, 3, padH!, padW!], dtype: 'f32' };
  },
  flops: ({ result }) => 10 * elementCount(result.shape),
};

/** Options of `preprocess`. */
export interface PreprocessOptions {
  /** (h, w) after resizing. */
  size: readonly [number, number];
  /** (h, w) after padding at the bottom and right, with zeros in normalised space. */
  padded: readonly [number, number];
  /** Taken off each channel, in 0 … 255. */
  mean: readonly number[];
  /** What each channel is divided by, in 0 … 255. */
  std: readonly number[];
  /** Pillow's antialiased bilinear with 8-bit rounding (SAM), else plain bilinear (HRSAM). */
  antialias: boolean;
  /** Channels in reverse order (BGR) for weights that expect it. */
  swap: boolean;
}

const checkOptions = optionsOf<PreprocessOptions>({
  size: true,
  padded: true,
  mean: true,
  std: true,
  antialias: true,
  swap: true,
});

/** A picture, u8 (H, W, channels) → the encoder's input (1, 3, h, w): resized, normalised, padded. */
export function preprocess(graph: Graph, pixels: Value, options: PreprocessOptions): Value {
  checkOptions(options, 'preprocess');
  const { size, padded, mean, std, antialias, swap } = options;
  return graph.add(preprocessOp, { pixels }, { size, padded, mean, std, antialias, swap });
}
