import type { Graph, Value } from '../graph/graph.js';
import type { Grid } from '../graph/grid.js';
import { slice } from '../graph/ops/slice.js';
import type { ModelConfig } from '../weights/config.js';
import { hrsamEncoder } from './hrsam_encoder.js';
import type { ComputeType } from './layers.js';
import { type Decoded, maskDecoder } from './mask_decoder.js';
import { type PromptValues, promptEncoder } from './prompt_encoder.js';
import { samEncoder } from './sam_encoder.js';

/** Along each side of a mask. */
export const LOGITS_PER_TOKEN = 4;

/** Of the masks that a model makes of an input with this side. */
export const maskSide = (side: number, { encoder }: ModelConfig): number =>
  (LOGITS_PER_TOKEN * side) / encoder.patchSize;

/** The encoder of either family: image (B, 3, H, W), normalised → embedding (B, h, w, E) f32. */
export function encoder(graph: Graph, image: Value, config: ModelConfig, compute: ComputeType): Value {
  return config.family === 'hrsam'
    ? hrsamEncoder(graph, image, config.encoder, compute)
    : samEncoder(graph, image, config.encoder, compute);
}

/** Prompt encoder and mask decoder: an embedding (P or 1, h, w, E) and P prompts → logits and predicted IoUs, f32. */
export function maskLogits(
  graph: Graph,
  inputs: PromptValues & { embedding: Value; lengths?: Value },
  config: ModelConfig,
  compute: ComputeType = 'f32',
): Decoded {
  const { embedding, lengths, ...prompts } = inputs;
  const grid: Grid = [embedding.shape[1]!, embedding.shape[2]!];
  return maskDecoder(
    graph,
    embedding,
    promptEncoder(graph, prompts, grid, config.prompt),
    config.decoder,
    lengths,
    compute,
  );
}

/**
 * As `maskLogits`; then mask 0 goes back as the mask of the same prompts, `refinements` times. SAM is trained on such steps
 * among others (arXiv 2304.02643, appendix A).
 */
export function refinedMaskLogits(
  graph: Graph,
  inputs: Parameters<typeof maskLogits>[1],
  config: ModelConfig,
  refinements: number,
): Decoded {
  let decoded = maskLogits(graph, inputs, config);
  for (let i = 0; i < refinements; i++) {
    const [count, , height, width] = decoded.masks.shape as [number, number, number, number];
    const mask = graph.reshape(slice(graph, decoded.masks, 1, 0, 1), [count, height, width]);
    decoded = maskLogits(graph, { ...inputs, mask }, config);
  }
  return decoded;
}
