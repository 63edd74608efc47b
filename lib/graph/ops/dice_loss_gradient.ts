import { elementCount } from '../../runtime/dtype.js';
import type { Attributes, Graph, OpDefinition, Value } from '../graph.js';
import { sampleLossGradient } from '../sample_losses.js';

export const diceLossGradientOp: OpDefinition = {
  name: 'dice_loss_gradient',
  ...sampleLossGradient('logits', 'labels'),
  attributes: { ignore: 'number' },
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
