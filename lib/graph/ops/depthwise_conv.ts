import type { DType } from '../../runtime/dtype.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';
import { depthwiseConvWeightGradient } from './depthwise_conv_weight_gradient.js';

export const depthwiseConvOp: OpDefinition = {
  name: 'depthwise_conv',
  operands: ['x', 'weight'],
  attributes: { flip: 'flag' },
  infer({ operands, dtype, fail }) {
    const { x, weight } = operands as Record<string, Value>;
    const [channels, one, kernel, kernelW] = weight!.shape;
    const odd = kernel !== undefined && kernel % 2 === 1 && kernel === kernelW && weight!.shape.length === 4;
    if (x!.shape.length !== 4 || one !== 1 || !odd || x!.shape[3] !== channels)
      return fail('x (B, h, w, C), weight (C, 1, k, k), k odd');
    return { shape: x!.shape, dtype: dtype ?? x!.dtype };
  },
  flops: ({ operands, result }: Node) => 2 * elementCount(result.shape) * operands.weight!.shape[2]! ** 2,
  gradient({ graph, node: { operands }, dy, wants }) {
    const { x, weight } = operands as Record<string, Value>;
    return {
      x: wants('x') ? graph.add(depthwiseConvOp, { x: dy, weight }, { flip: true }, x!.dtype) : undefined,
      weight: wants('weight') ? depthwiseConvWeightGradient(graph, x!, dy, weight!.shape[2]!) : undefined,
    };
  },
};

/** x (B, h, w, C) → (B, h, w, C): each channel with its own k×k kernel, stride 1, zero padding. */
export function depthwiseConv(graph: Graph, x: Value, weight: Value, dtype?: DType): Value {
  return graph.add(depthwiseConvOp, { x, weight }, { flip: false }, dtype);
}
