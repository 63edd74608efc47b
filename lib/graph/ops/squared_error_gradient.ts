import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { sampleLossGradient } from '../sample_losses.js';

export const squaredErrorGradientOp: OpDefinition = {
  name: 'squared_error_gradient',
  ...sampleLossGradient('x', 'target'),
  flops: ({ result }) => 3 * elementCount(result.shape),
};

/** Gradient of the mean squared error: x, target (B, …), dy (B) → (B, …). */
export function squaredErrorGradient(graph: Graph, x: Value, target: Value, dy: Value): Value {
  return graph.add(squaredErrorGradientOp, { x, target, dy });
}
