import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { sampleLoss } from '../sample_losses.js';
import { focalLossGradient } from './focal_loss_gradient.js';

export const focalLossOp: OpDefinition = {
  name: 'focal_loss',
  ...sampleLoss('logits', 'labels'),
  attributes: { alpha: 'number', gamma: 'number', eps: 'number', ignore: 'number' },
  flops: ({ operands }) => 20 * elementCount(operands.logits!.shape),
  gradient({ graph, node, dy }) {
    const { logits, labels } = node.operands as Record<string, Value>;
    return { logits: focalLossGradient(graph, logits!, labels!, dy, node.attributes) };
  },
};

export interface FocalLossOptions {
  alpha?: number;
  gamma?: number;
  eps?: number;
  /** Pixels with this label do not count. */
  ignore?: number;
}

/**
 * Normalised focal loss, one value per sample: logits (B, …) f32, labels (B, …) f32 0/1 → (B). The normaliser is
 * detached. As in the authors' NormalizedFocalLoss.
 */
export function focalLoss(graph: Graph, logits: Value, labels: Value, options: FocalLossOptions = {}): Value {
  const { alpha = 0.5, gamma = 2, eps = 1.1920928955078125e-7, ignore = 255 } = options;
  return graph.add(focalLossOp, { logits, labels }, { alpha, gamma, eps, ignore });
}
