import { elementCount } from '../../runtime/dtype.js';
import type { Attributes, Graph, OpDefinition, Value } from '../graph.js';
import { sampleLossGradient } from '../sample_losses.js';

export const focalLossGradientOp: OpDefinition = {
  name: 'focal_loss_gradient',
  ...sampleLossGradient('logits', 'labels'),
  attributes: { alpha: 'number', gamma: 'number', eps: 'number', ignore: 'number' },
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
