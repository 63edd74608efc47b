import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';

export const depthwiseConvWeightGradientOp: OpDefinition = {
  name: 'depthwise_conv_weight_gradient',
  operands: ['x', 'dy'],
  attributes: { kernel: 'number' },
  infer({ operands, attributes, fail }) {
    const { x, dy } = operands as Record<string, Value>;
    const kernel = attributes.kernel as number;
    if (x!.shape.length !== 4 || x!.shape.join() !== dy!.shape.join()) return fail('x and dy (B, h, w, C)');
    return { shape: [x!.shape[3]!, 1, kernel, kernel], dtype: 'f32' };
  },
  flops: ({ operands, attributes }: Node) =>
    2 * elementCount(operands.x!.shape) * (attributes.kernel as number) ** 2,
};

/** Gradient of a depthwise convolution's weight: x, dy (B, h, w, C) → (C, 1, k, k) f32. */
export function depthwiseConvWeightGradient(graph: Graph, x: Value, dy: Value, kernel: number): Value {
  return graph.add(depthwiseConvWeightGradientOp, { x, dy }, { kernel });
}
