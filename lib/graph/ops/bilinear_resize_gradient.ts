import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const bilinearResizeGradientOp: OpDefinition = {
  name: 'bilinear_resize_gradient',
  operands: ['dy'],
  attributes: { size: 'list', channels_last: 'flag' },
  infer({ operands, attributes, fail }) {
    const { dy } = operands as Record<string, Value>;
    if (dy!.shape.length !== 4) return fail('dy of rank 4');
    const [h, w] = attributes.size as number[];
    const [a, b, , d] = dy!.shape as [number, number, number, number];
    return { shape: attributes.channels_last ? [a, h!, w!, d] : [a, b, h!, w!], dtype: dy!.dtype };
  },
  flops: ({ operands }) => 8 * elementCount(operands.dy!.shape),
};

/** The adjoint of bilinear_resize: the resized picture's gradient → that of the picture of `size`. */
export function bilinearResizeGradient(
  graph: Graph,
  dy: Value,
  size: readonly [number, number],
  channelsLast: boolean,
): Value {
  return graph.add(bilinearResizeGradientOp, { dy }, { size, channels_last: channelsLast });
}
