import { totalFlops } from '../graph/cost.js';
import { Graph } from '../graph/graph.js';
import { maskLogits } from '../model/model.js';
import { TOKEN_BUCKET } from '../predictor/prompts.js';
import type { ModelConfig } from '../weights/config.js';

/** FLOPs of answering a click that has a mask before it: prompt encoder and mask decoder, for a square input of `size`. */
export function clickFlops(config: ModelConfig, size: number): number {
  const side = size / config.encoder.patchSize;
  const graph = new Graph();
  const inputs = {
    embedding: graph.input('embedding', [1, side, side, config.prompt.embedDim]),
    points: graph.input('points', [1, TOKEN_BUCKET, 2]),
    labels: graph.input('labels', [1, TOKEN_BUCKET]),
    lengths: graph.input('lengths', [1], 'i32'),
    mask: graph.input('mask', [1, 4 * side, 4 * side]),
  };
  const { masks, ious } = maskLogits(graph, inputs, config);
  graph.output('masks', masks);
  graph.output('ious', ious);
  return totalFlops(graph);
}
