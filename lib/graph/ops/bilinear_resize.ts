import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { bilinearResizeGradient } from './bilinear_resize_gradient.js';

export const bilinearResizeOp: OpDefinition = {
  name: 'bilinear_resize',
  operands: ['x'],
  attributes: { size: 'list', channels_last: 'flag' },
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
  gradient({ graph, node: { operands, attributes }, dy }) {
    const channelsLast = attributes.channels_last as boolean;
    const [h, w] = operands.x!.shape.slice(channelsLast ? 1 : 2) as [number, number];
    return { x: bilinearResizeGradient(graph, dy, [h, w], channelsLast) };
  },
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
