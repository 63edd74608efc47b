import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const promptPointsGradientOp: OpDefinition = {
  name: 'prompt_points_gradient',
  operands: ['labels', 'dy'],
  infer({ operands, fail }) {
    const { labels, dy } = operands as Record<string, Value>;
    if (dy!.shape.length !== 3 || labels!.shape.join() !== dy!.shape.slice(0, 2).join())
      return fail('labels (B, n), dy (B, n, E)');
    return { shape: [5, dy!.shape[2]!], dtype: 'f32' };
  },
  flops: ({ operands }) => elementCount(operands.dy!.shape),
};

/** Gradients of the label embeddings (rows 0 … 3) and of not_a_point (row 4): labels (B, n), dy (B, n, E) → (5, E) f32. */
export function promptPointsGradient(graph: Graph, labels: Value, dy: Value): Value {
  return graph.add(promptPointsGradientOp, { labels, dy });
}
