import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const linearWeightGradientOp: OpDefinition = {
  name: 'linear_weight_gradient',
  operands: ['x', 'dy'],
  infer({ operands, fail }) {
    const { x, dy } = operands as Record<string, Value>;
    if (x!.shape.slice(0, -1).join() !== dy!.shape.slice(0, -1).join() || x!.dtype !== dy!.dtype)
      return fail('x (…, K) and dy (…, N) of one type');
    return { shape: [dy!.shape.at(-1)!, x!.shape.at(-1)!], dtype: 'f32' };
  },
  flops: ({ operands }) => 2 * elementCount(operands.x!.shape) * operands.dy!.shape.at(-1)!,
};

/** dyᵀ · x summed over all rows: x (…, K), dy (…, N) → (N, K) f32. Computed in x's type, accumulated in f32. */
export function linearWeightGradient(graph: Graph, x: Value, dy: Value): Value {
  return graph.add(linearWeightGradientOp, { x, dy });
}
