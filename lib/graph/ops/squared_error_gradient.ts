import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const squaredErrorGradientOp: OpDefinition = {
  name: 'squared_error_gradient',
  operands: ['x', 'target', 'dy'],
  infer({ operands, fail }) {
    const { x, dy } = operands as Record<string, Value>;
    return dy!.shape.join() === `${x!.shape[0]}` ? { shape: x!.shape, dtype: 'f32' } : fail('dy (B)');
  },
  flops: ({ result }) => 3 * elementCount(result.shape),
};

/** Gradient of the mean squared error: x, target (B, …), dy (B) → (B, …). */
export function squaredErrorGradient(graph: Graph, x: Value, target: Value, dy: Value): Value {
  return graph.add(squaredErrorGradientOp, { x, target, dy });
}
