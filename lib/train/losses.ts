import type { Graph, Value } from '../graph/graph.js';
import { add } from '../graph/ops/add.js';
import { bilinearResize } from '../graph/ops/bilinear_resize.js';
import { concat } from '../graph/ops/concat.js';
import { diceLoss } from '../graph/ops/dice_loss.js';
import { type FocalLossOptions, focalLoss } from '../graph/ops/focal_loss.js';
import { matmul } from '../graph/ops/matmul.js';
import { permute } from '../graph/ops/permute.js';
import { slice } from '../graph/ops/slice.js';
import { squaredError } from '../graph/ops/squared_error.js';
import type { ComputeType } from '../model/layers.js';
import type { Decoded } from '../model/mask_decoder.js';
import { encoder, maskLogits, maskSide } from '../model/model.js';
import { COLOUR_CHANNELS, type ModelConfig } from '../weights/config.js';
import type { Loss } from './gradient_program.js';

export interface BatchShape {
  /** Samples. */
  batch: number;
  /** Sides of the model's input. */
  height: number;
  width: number;
}

const imageInput = (graph: Graph, { batch, height, width }: BatchShape): Value =>
  graph.input('image', [batch, COLOUR_CHANNELS, height, width]);

/** Distillation: the embedding of `image` against `target` (B, h, w, E), mean squared error. */
export function distillationLoss(config: ModelConfig, shape: BatchShape, compute: ComputeType): Loss {
  return (graph) => {
    const embedding = graph.mark('embedding', encoder(graph, imageInput(graph, shape), config, compute));
    return { loss: squaredError(graph, embedding, graph.input('target', embedding.shape)) };
  };
}

export interface ClickShape extends BatchShape {
  /** Points of each prompt, padding included. */
  tokens: number;
  focal?: Pick<FocalLossOptions, 'alpha' | 'gamma'>;
  /** Objects of each sample that are prompted for, from 1. */
  objects: number;
  /** Prompts of each object, from 1: the first one without, the others with the logits of an earlier step. */
  steps: number;
  /** One step's prompt has logits of an earlier one as well. */
  refined?: boolean;
}

/** Prompts with a mask and prompts without are different programs' halves; both see the samples' embeddings in order. */
export const repeated = (graph: Graph, x: Value, times: number): Value =>
  times === 1
    ? x
    : concat(
        graph,
        Array.from({ length: times }, () => x),
        0,
      );

/**
 * Click steps, U = M·B users of B samples by K steps, step by step: prompt k·U + m·B + b is about object m of sample b.
 * Inputs besides `image`: `points` (K·U, n, 2), `point_labels` (K·U, n), `lengths` i32 (K·U), `labels` (U, 1, H, W) with
 * 0, 1 or 255 for pixels that do not count, and per prompt `iou_targets` (K·U, 1), what the answers' IoUs are; with K > 1
 * `mask` ((K − 1)·U, h, w), the logits before at the masks' own size, with one `refined` step (U, h, w). Loss (K·U): the normalised focal
 * and the dice loss of mask 0, enlarged to the input's size, and the squared error of its predicted IoU. Where the model
 * has more masks, those of a first step without a mask get theirs too: of the mask that `chosen` (U, 1, masks − 1) marks
 * with a 1 focal and dice loss, and of all of them the IoU's error against `multimask_iou_targets` (U, masks − 1). SAM
 * (arXiv 2304.02643) trains them so.
 */
export function clickLoss(config: ModelConfig, shape: ClickShape, compute: ComputeType): Loss {
  const { batch, height, width, tokens, objects, steps, focal, refined = false } = shape;
  const users = objects * batch;
  const multimask = config.decoder.multimaskOutputs;
  const [maskHeight, maskWidth] = [maskSide(height, config), maskSide(width, config)];
  return (graph) => {
    const embedding = encoder(graph, imageInput(graph, shape), config, compute);
    const points = graph.input('points', [steps * users, tokens, 2]);
    const pointLabels = graph.input('point_labels', [steps * users, tokens]);
    const lengths = graph.input('lengths', [steps * users], 'i32');
    const labels = graph.input('labels', [users, 1, height, width]);
    const targets = graph.input('iou_targets', [steps * users, 1]);
    const decode = (from: number, to: number) =>
      maskLogits(
        graph,
        {
          embedding: repeated(graph, embedding, objects * (to - from)),
          points: graph.rows(points, from * users, to * users),
          labels: graph.rows(pointLabels, from * users, to * users),
          lengths: graph.rows(lengths, from * users, to * users),
          mask:
            from > 0 || refined
              ? graph.input('mask', [(to - from) * users, maskHeight, maskWidth])
              : undefined,
        },
        config,
        compute,
      );
    const mask = (logits: Value, times: number) => {
      const full = bilinearResize(graph, logits, [height, width], false);
      const truth = repeated(graph, labels, times);
      return add(graph, focalLoss(graph, full, truth, focal), diceLoss(graph, full, truth));
    };
    const single = ({ masks, ious }: Decoded, from: number, to: number) =>
      add(
        graph,
        mask(slice(graph, masks, 1, 0, 1), to - from),
        squaredError(graph, slice(graph, ious, 1, 0, 1), graph.rows(targets, from * users, to * users)),
      );
    const first = decode(0, 1);
    let loss = single(first, 0, 1);
    if (multimask > 0 && !refined) loss = add(graph, loss, multimaskLoss(graph, first, multimask, mask));
    if (steps > 1) loss = concat(graph, [loss, single(decode(1, steps), 1, steps)], 0);
    return { loss, embedding };
  };
}

function multimaskLoss(
  graph: Graph,
  { masks, ious }: Decoded,
  count: number,
  mask: (logits: Value, times: number) => Value,
): Value {
  const [batch, , h, w] = masks.shape as [number, number, number, number];
  const pixels = graph.reshape(slice(graph, masks, 1, 1, 1 + count), [batch, count, h * w]);
  const chosen = graph.input('chosen', [batch, 1, count]);
  const best = matmul(graph, chosen, permute(graph, pixels, [0, 2, 1]));
  const targets = graph.input('multimask_iou_targets', [batch, count]);
  return add(
    graph,
    mask(graph.reshape(best, [batch, 1, h, w]), 1),
    squaredError(graph, slice(graph, ious, 1, 1, 1 + count), targets),
  );
}
