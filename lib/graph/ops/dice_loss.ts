import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { sampleLoss } from '../sample_losses.js';
import { diceLossGradient } from './dice_loss_gradient.js';

export const diceLossOp: OpDefinition = {
  name: 'dice_loss',
  ...sampleLoss('logits', 'labels'),
  attributes: { ignore: 'number' },
  flops: ({ operands }) => 12 * elementCount(operands.logits!.shape),
  gradient({ graph, node, dy }) {
    const { logits, labels } = node.operands as Record<string, Value>;
    return { logits: diceLossGradient(graph, logits!, labels!, dy, node.attributes) };
  },
};

export interface DiceLossOptions {
  /** Pixels with this label do not count. */
  ignore?: number;
}

/**
 * Dice loss, 1 − (2 Σ p·y + 1) / (Σ p + Σ y + 1) with p = sigmoid(logit), one value per sample: logits (B, …) f32,
 * labels (B, …) f32 0/1 → (B). V-Net (3DV 2016), as SAM (arXiv 2304.02643) adds it to the focal loss.
 */
export function diceLoss(graph: Graph, logits: Value, labels: Value, options: DiceLossOptions = {}): Value {
  const { ignore = 255 } = options;
  return graph.add(diceLossOp, { logits, labels }, { ignore });
}
