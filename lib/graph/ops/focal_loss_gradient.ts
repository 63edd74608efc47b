import { elementCount } from '../../runtime/dtype.js';
import type { Attributes, Graph, OpDefinition, Value } from '../graph.js';

export const focalLossGradientOp: OpDefinition = {
  name: 'focal_loss_gradient',
  operands: ['logits', 'labels', 'dy'],
  attributes: { alpha: 'number', gamma: 'number', eps: 'number', ignore: 'number' },
  infer({ operands, fail }) {
    const { logits, dy } = operands as Record<string, Value>;
    return dy!.shape.join() === `${logits!.shape[0]}`
      ? { shape: logits!.shape, dtype: 'f32' }
      : fail('dy (B)');
  },
  flops: ({ operands }) => 30 * elementCount(operands.logits!.shape),
};

/** Gradient of the normalised focal loss: logits, labels (B, …), dy (B) → (B, …). */
export function focalLossGradient(
  graph: Graph,
  logits: Value,
  labels: Value,
  dy: Value,
  attributes: Attributes,
): Value {
  return graph.add(focalLossGradientOp, { logits, labels, dy }, attributes);
}
