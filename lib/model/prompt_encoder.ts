import type { Graph, Value } from '../graph/graph.js';
import type { Grid } from '../graph/grid.js';
import { bilinearResize } from '../graph/ops/bilinear_resize.js';
import { concat } from '../graph/ops/concat.js';
import { positionEncoding } from '../graph/ops/position_encoding.js';
import { promptPoints } from '../graph/ops/prompt_points.js';
import type { PromptConfig } from '../weights/config.js';
import { convolution, normLayer, weight } from './layers.js';

/** Labels of prompt points. Corners of a box are points with labels of their own. */
export const LABEL = {
  padding: -1,
  background: 0,
  foreground: 1,
  boxStart: 2,
  boxEnd: 3,
  unknown: 4,
} as const;

export interface PromptValues {
  /** (P, n, 2): pixels x, y of the model's input. */
  points: Value;
  /** (P, n), see LABEL. */
  labels: Value;
  /** Logits of an earlier mask (P or 1, 4h, 4w), optional. */
  mask?: Value;
}

export interface EncodedPrompts {
  /** (P, n, E) */
  sparse: Value;
  /** (P or 1, h, w, E), or (1, 1, 1, E) without a mask. */
  dense: Value;
  /** Position code of the image (1, h, w, E). */
  imagePositions: Value;
}

/** Segment Anything's prompt encoder (arXiv 2304.02643) for an embedding of `grid` cells. Weights under `neck`. */
export function promptEncoder(
  graph: Graph,
  prompts: PromptValues,
  grid: Grid,
  config: PromptConfig,
): EncodedPrompts {
  const { embedDim, imageEmbedSize, inputImageSize, resizePositions } = config;
  return graph.scope('neck', () => {
    const gaussian = graph.scope('pos_embed_layer', () =>
      weight(graph, 'positional_encoding_gaussian_matrix', [2, embedDim / 2]),
    );
    const embeddings = concat(
      graph,
      [0, 1, 2, 3].map((i) => weight(graph, `point_embeds.${i}.weight`, [1, embedDim])),
      0,
    );
    const tables = {
      gaussian,
      embeddings,
      notAPoint: weight(graph, 'not_a_point_embed.weight', [1, embedDim]),
    };
    // HRSAM's code divides by the size of the picture at hand, as the grid has it at the trained ratio, and stretches the
    // trained grid's codes; SAM has one size.
    const pixels = (i: 0 | 1) => Math.floor((grid[i] * inputImageSize[i]) / imageEmbedSize[i]);
    const size: Grid = resizePositions ? [pixels(0), pixels(1)] : inputImageSize;
    const codes = positionEncoding(graph, gaussian, resizePositions ? imageEmbedSize : grid);
    return {
      sparse: promptPoints(graph, prompts.points, prompts.labels, tables, size),
      dense: densePrompt(graph, prompts.mask, grid, config),
      imagePositions: resized(graph, codes, grid),
    };
  });
}

const resized = (graph: Graph, map: Value, grid: Grid): Value =>
  map.shape[1] === grid[0] && map.shape[2] === grid[1] ? map : bilinearResize(graph, map, grid);

function densePrompt(
  graph: Graph,
  mask: Value | undefined,
  grid: Grid,
  { embedDim, maskInDim }: PromptConfig,
): Value {
  if (!mask) return graph.reshape(weight(graph, 'no_mask_embed.weight', [1, embedDim]), [1, 1, 1, embedDim]);
  return graph.scope('mask_downscaling', () => {
    const halve = { kernel: 2, stride: 2 };
    const norm = { eps: 1e-6, activation: 'gelu' } as const;
    let map = graph.reshape(mask, [...mask.shape, 1]);
    map = normLayer(graph, '1', convolution(graph, '0', map, maskInDim / 4, halve), norm);
    map = normLayer(graph, '4', convolution(graph, '3', map, maskInDim, halve), norm);
    return resized(graph, convolution(graph, '6', map, embedDim, { kernel: 1, stride: 1 }), grid);
  });
}
