import { HrsamError } from '../errors.js';
import { costs, type LayerCost, totalFlops } from '../graph/cost.js';
import { Graph } from '../graph/graph.js';
import { encoder, LOGITS_PER_TOKEN, maskLogits } from '../model/model.js';
import { COLOUR_CHANNELS, type ModelConfig } from '../weights/config.js';
import { TOKEN_BUCKET } from './prompt_tokens.js';

export interface FlopsByLayer {
  image: [number, number];
  layers: LayerCost[];
  total: { flops: number; bytes: number };
  /** FLOPs. */
  perPixel: number;
}

/** The encoder's graph for `batch` images of a size; needs no weights. @throws HrsamError ERR_ARGUMENT */
export function encoderGraph(
  config: ModelConfig,
  [height, width]: readonly [number, number],
  { batch = 1, dtype = 'f32' }: { batch?: number; dtype?: 'f32' | 'bf16' } = {},
): Graph {
  const { patchSize } = config.encoder;
  if ([height, width].some((side) => side < patchSize || side % patchSize !== 0)) {
    throw new HrsamError('ERR_ARGUMENT', 'size of the image', {
      expected: `multiples of ${patchSize}`,
      actual: `${height}x${width}`,
    });
  }
  const graph = new Graph();
  const image = graph.input('image', [batch, COLOUR_CHANNELS, height, width]);
  graph.output('embedding', encoder(graph, image, config, dtype));
  return graph;
}

/** What the encoder costs for one image, by layers told apart by `depth` parts of their names. */
export function flopsByLayer(config: ModelConfig, image: [number, number], depth: number): FlopsByLayer {
  const graph = encoderGraph(config, image);
  const layers = costs(graph, depth);
  const sum = (key: 'flops' | 'bytes') => layers.reduce((total, layer) => total + layer[key], 0);
  const total = { flops: sum('flops'), bytes: sum('bytes') };
  return { image, layers, total, perPixel: total.flops / (image[0] * image[1]) };
}

/** FLOPs of answering a click that has a mask before it: prompt encoder and mask decoder, for a square input of `size`. */
export function clickFlops(config: ModelConfig, size: number): number {
  const side = size / config.encoder.patchSize;
  const graph = new Graph();
  const inputs = {
    embedding: graph.input('embedding', [1, side, side, config.prompt.embedDim]),
    points: graph.input('points', [1, TOKEN_BUCKET, 2]),
    labels: graph.input('labels', [1, TOKEN_BUCKET]),
    lengths: graph.input('lengths', [1], 'i32'),
    mask: graph.input('mask', [1, LOGITS_PER_TOKEN * side, LOGITS_PER_TOKEN * side]),
  };
  const { masks, ious } = maskLogits(graph, inputs, config);
  graph.output('masks', masks);
  graph.output('ious', ious);
  return totalFlops(graph);
}
