import type { Graph, Value } from '../graph/graph.js';
import { bilinearResize } from '../graph/ops/bilinear_resize.js';
import { focalLoss } from '../graph/ops/focal_loss.js';
import { slice } from '../graph/ops/slice.js';
import { squaredError } from '../graph/ops/squared_error.js';
import type { ComputeType } from '../model/layers.js';
import { encoder, maskLogits } from '../model/model.js';
import type { ModelConfig } from '../weights/config.js';
import type { Loss } from './gradient_program.js';

export interface BatchShape {
  /** Samples. */
  batch: number;
  /** Sides of the model's input. */
  height: number;
  width: number;
}

const imageInput = (graph: Graph, { batch, height, width }: BatchShape): Value =>
  graph.input('image', [batch, 3, height, width]);

/** Distillation: the embedding of `image` against `target` (B, h, w, E), mean squared error. */
export function distillationLoss(config: ModelConfig, shape: BatchShape, compute: ComputeType): Loss {
  return (graph) => {
    const embedding = graph.mark('embedding', encoder(graph, imageInput(graph, shape), config, compute));
    return { loss: squaredError(graph, embedding, graph.input('target', embedding.shape)) };
  };
}

export interface ClickShape extends BatchShape {
  /** Points of each sample, padding included. */
  tokens: number;
  /** Whether logits of an earlier step, `mask` (B, h/4, w/4), are part of the prompt. */
  refine: boolean;
}

/**
 * One click step: mask 0 for `points` (B, n, 2) and `point_labels` (B, n), enlarged to the input's size, against
 * `labels` (B, H, W) with 0/1, by the normalised focal loss.
 */
export function segmentationLoss(config: ModelConfig, shape: ClickShape, compute: ComputeType): Loss {
  const { batch, height, width, tokens, refine } = shape;
  return (graph) => {
    const embedding = encoder(graph, imageInput(graph, shape), config, compute);
    const { masks, ious } = maskLogits(
      graph,
      {
        embedding,
        points: graph.input('points', [batch, tokens, 2]),
        labels: graph.input('point_labels', [batch, tokens]),
        lengths: graph.input('lengths', [batch], 'i32'),
        mask: refine ? graph.input('mask', [batch, height / 4, width / 4]) : undefined,
      },
      config,
    );
    const logits = slice(graph, masks, 1, 0, 1);
    const full = bilinearResize(graph, logits, [height, width], false);
    const labels = graph.input('labels', [batch, 1, height, width]);
    return { loss: focalLoss(graph, full, labels), outputs: { logits, ious } };
  };
}
