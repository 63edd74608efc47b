import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const bilinearResizeOp: OpDefinition = {
  name: 'bilinear_resize',
  operands: ['x'],
  infer({ operands, attributes, dtype, fail }) {
    const { x } = operands as Record<string, Value>;
    const [h, w] = attributes.size as number[];
    if (x!.shape.length !== 4 || !(h! >= 1) || !(w! >= 1))
      return fail('x of rank 4 and a size of at least 1 × 1');
    const [a, b, , d] = x!.shape;
    return {
      shape: attributes.channels_last ? [a!, h!, w!, d!] : [a!, b!, h!, w!],
      dtype: dtype ?? x!.dtype,
    };
  },
  flops: ({ result }) => 8 * elementCount(result.shape),
};

/** Bilinear resize with half-pixel centres and no antialiasing: (B, h, w, C), or (B, C, h, w) with `channelsLast` false. */
export function bilinearResize(
  graph: Graph,
  x: Value,
  size: readonly [number, number],
  channelsLast = true,
): Value {
  return graph.add(bilinearResizeOp, { x }, { size, channels_last: channelsLast });
}
