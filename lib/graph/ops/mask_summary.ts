import { optionsOf } from '../../options.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const maskSummaryOp: OpDefinition = {
  name: 'mask_summary',
  operands: ['logits'],
  attributes: { size: 'list', threshold: 'number', offset: 'number' },
  infer({ operands, attributes, fail }) {
    const { logits } = operands as Record<string, Value>;
    const [rows, columns] = attributes.size as number[];
    if (logits!.shape.length !== 4 || logits!.dtype !== 'f32') return fail('logits f32 (B, M, h, w)');
    const [batch, masks, height, width] = logits!.shape as [number, number, number, number];
    if (!(rows! >= 0 && rows! <= height && columns! >= 0 && columns! <= width))
      return fail('a size inside the logits');
    return { shape: [batch, masks, 6], dtype: 'f32' };
  },
  flops: ({ operands }) => 3 * elementCount(operands.logits!.shape),
};

/** Options of `maskSummary`. */
export interface MaskSummaryOptions {
  /** (rows, columns) of the logits that count, from the first. */
  size: readonly [number, number];
  /** Logits above it are mask. Default 0. */
  threshold?: number;
  /** By how much the threshold is moved. Default 1. */
  offset?: number;
}

const checkOptions = optionsOf<MaskSummaryOptions>({ size: true, threshold: true, offset: true });

/**
 * Logits (B, M, h, w) f32 → (B, M, 6): the areas above threshold + offset and above threshold − offset, and the mask's
 * edges x0, y0, x1, y1, zeros for an empty one; f32, exact up to 4096². The areas' quotient is SAM's stability score (arXiv 2304.02643).
 */
export function maskSummary(graph: Graph, logits: Value, options: MaskSummaryOptions): Value {
  checkOptions(options, 'mask_summary');
  const { size, threshold = 0, offset = 1 } = options;
  return graph.add(maskSummaryOp, { logits }, { size, threshold, offset });
}
