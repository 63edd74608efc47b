import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const layerNormParametersGradientOp: OpDefinition = {
  name: 'layer_norm_parameters_gradient',
  operands: ['x', 'dy'],
  attributes: { eps: 'number' },
  infer({ operands, fail }) {
    const { x, dy } = operands as Record<string, Value>;
    if (x!.shape.join() !== dy!.shape.join()) return fail('x and dy of one shape');
    return { shape: [2, x!.shape.at(-1)!], dtype: 'f32' };
  },
  flops: ({ operands }) => 8 * elementCount(operands.x!.shape),
};

/** Gradients of LayerNorm's weight (row 0) and bias (row 1): x, dy (…, C) → (2, C) f32. */
export function layerNormParametersGradient(graph: Graph, x: Value, dy: Value, eps: number): Value {
  return graph.add(layerNormParametersGradientOp, { x, dy }, { eps });
}
