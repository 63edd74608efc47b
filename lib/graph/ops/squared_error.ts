import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { sampleLoss } from '../sample_losses.js';
import { squaredErrorGradient } from './squared_error_gradient.js';

export const squaredErrorOp: OpDefinition = {
  name: 'squared_error',
  ...sampleLoss('x', 'target'),
  flops: ({ operands }) => 3 * elementCount(operands.x!.shape),
  gradient: ({ graph, node: { operands }, dy }) => ({
    x: squaredErrorGradient(graph, operands.x!, operands.target!, dy),
  }),
};

/** Mean squared error of each sample: x, target (B, …) f32 → (B). */
export function squaredError(graph: Graph, x: Value, target: Value): Value {
  return graph.add(squaredErrorOp, { x, target });
}
