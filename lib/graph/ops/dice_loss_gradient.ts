import { elementCount } from '../../runtime/dtype.js';
import type { Attributes, Graph, OpDefinition, Value } from '../graph.js';

export const diceLossGradientOp: OpDefinition = {
  name: 'dice_loss_gradient',
  operands: ['logits', 'labels', 'dy'],
  attributes: { ignore: 'number' },
  infer({ operands, fail }) {
    const { logits, dy } = operands as Record<string, Value>;
    return dy!.shape.join() === `${logits!.shape[0]}`
      ? { shape: logits!.shape, dtype: 'f32' }
      : fail('dy (B)');
  },
  flops: ({ operands }) => 20 * elementCount(operands.logits!.shape),
};

/** Gradient of the dice loss: logits, labels (B, …), dy (B) → (B, …). */
export function diceLossGradient(
  graph: Graph,
  logits: Value,
  labels: Value,
  dy: Value,
  attributes: Attributes,
): Value {
  return graph.add(diceLossGradientOp, { logits, labels, dy }, attributes);
}
