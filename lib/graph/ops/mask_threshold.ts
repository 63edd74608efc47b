import { optionsOf } from '../../options.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const maskThresholdOp: OpDefinition = {
  name: 'mask_threshold',
  operands: ['logits'],
  attributes: { input: 'list', crop: 'list', original: 'list', threshold: 'number' },
  infer({ operands, attributes, fail }) {
    const { logits } = operands as Record<string, Value>;
    const [h, w] = attributes.original as number[];
    const [cropH, cropW] = attributes.crop as number[];
    const [inputH, inputW] = attributes.input as number[];
    if (logits!.shape.length !== 4 || logits!.dtype !== 'f32') return fail('logits f32 (B, M, h, w)');
    if (!(cropH! >= 1 && cropH! <= inputH! && cropW! >= 1 && cropW! <= inputW!))
      return fail('a crop inside the input');
    return { shape: [logits!.shape[0]!, logits!.shape[1]!, h!, w!], dtype: 'u8' };
  },
  flops: ({ result }) => 16 * elementCount(result.shape),
};

/** Options of `maskThreshold`. */
export interface MaskThresholdOptions {
  /** (h, w) of the padded model input, to which the logits are enlarged first. */
  input: readonly [number, number];
  /** (h, w) of its un-padded part, which is cut out. */
  crop: readonly [number, number];
  /** (h, w) of the original picture, to which the cut-out is resized. */
  original: readonly [number, number];
  /** Logits above it are mask. */
  threshold: number;
}

const checkOptions = optionsOf<MaskThresholdOptions>({
  input: true,
  crop: true,
  original: true,
  threshold: true,
});

/** Low-resolution logits (B, M, h, w) → 0/1 masks u8 (B, M, H, W) at the picture's size; no full-size logits are stored. */
export function maskThreshold(graph: Graph, logits: Value, options: MaskThresholdOptions): Value {
  checkOptions(options, 'mask_threshold');
  const { input, crop, original, threshold } = options;
  return graph.add(maskThresholdOp, { logits }, { input, crop, original, threshold });
}
