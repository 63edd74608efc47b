import { bilinearResize } from '../../lib/graph/ops/bilinear_resize.js';
import { focalLoss } from '../../lib/graph/ops/focal_loss.js';
import { slice } from '../../lib/graph/ops/slice.js';
import { encoder, maskLogits } from '../../lib/model/model.js';
import type { Loss } from '../../lib/train/gradient_program.js';
import type { BatchShape } from '../../lib/train/losses.js';
import type { ModelConfig } from '../../lib/weights/config.js';

/** One published fine-tuning step: mask 0 for points, and the logits before if `refine`, against labels. */
export function segmentationLoss(
  config: ModelConfig,
  { batch, height, width, tokens, refine }: BatchShape & { tokens: number; refine: boolean },
): Loss {
  return (graph) => {
    const image = graph.input('image', [batch, 3, height, width]);
    const { masks } = maskLogits(
      graph,
      {
        embedding: encoder(graph, image, config, 'f32'),
        points: graph.input('points', [batch, tokens, 2]),
        labels: graph.input('point_labels', [batch, tokens]),
        lengths: graph.input('lengths', [batch], 'i32'),
        mask: refine ? graph.input('mask', [batch, height / 4, width / 4]) : undefined,
      },
      config,
    );
    const logits = slice(graph, masks, 1, 0, 1);
    const labels = graph.input('labels', [batch, 1, height, width]);
    const enlarged = bilinearResize(graph, logits, [height, width], false);
    return { loss: focalLoss(graph, enlarged, labels), outputs: { logits } };
  };
}
