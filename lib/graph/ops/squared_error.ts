import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { squaredErrorGradient } from './squared_error_gradient.js';

export const squaredErrorOp: OpDefinition = {
  name: 'squared_error',
  operands: ['x', 'target'],
  infer({ operands, fail }) {
    const { x, target } = operands as Record<string, Value>;
    if (x!.shape.length < 2 || x!.shape.join() !== target!.shape.join()) return fail('x and target (B, …)');
    return { shape: [x!.shape[0]!], dtype: 'f32' };
  },
  flops: ({ operands }) => 3 * elementCount(operands.x!.shape),
  gradient: ({ graph, node: { operands }, dy }) => ({
    x: squaredErrorGradient(graph, operands.x!, operands.target!, dy),
  }),
};

/** Mean squared error of each sample: x, target (B, …) f32 → (B). */
export function squaredError(graph: Graph, x: Value, target: Value): Value {
  return graph.add(squaredErrorOp, { x, target });
}
