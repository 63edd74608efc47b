import { HrsamError } from '../errors.js';
import type { Graph, Value } from '../graph/graph.js';
import type { Grid } from '../graph/grid.js';
import { attention } from '../graph/ops/attention.js';
import { cast } from '../graph/ops/cast.js';
import { pad } from '../graph/ops/pad.js';
import { relPos } from '../graph/ops/rel_pos.js';
import { windowAttention } from '../graph/ops/window_attention.js';
import type { SamConfig } from '../weights/config.js';
import { type BranchScales, branchScales } from './drop_path.js';
import { type ComputeType, convolution, linearLayer, normLayer, residualLayer, weight } from './layers.js';

type EncoderConfig = SamConfig['encoder'];

/**
 * Segment Anything's image encoder (arXiv 2304.02643): image (B, 3, H, W) f32 → embedding (B, h, w, outChans) f32.
 * Windows are padded at the bottom and right with zeros after norm1, and padded tokens are attended to.
 */
export function samEncoder(graph: Graph, image: Value, config: EncoderConfig, compute: ComputeType): Value {
  const [, , height, width] = image.shape;
  const { patchSize, embedDim, outChans } = config;
  const grid: Grid = [height! / patchSize, width! / patchSize];
  return graph.scope('image_encoder', () => {
    let x = embed(graph, image, grid, config, compute);
    graph.mark('patch_embed', x);
    const scales = branchScales(graph, { encoder: config }, image.shape[0]!);
    for (let i = 0; i < config.depth; i++) {
      x = graph.mark(`blocks.${i}`, samBlock(graph, i, x, grid, config, compute, scales));
    }
    return graph.scope('neck', () => {
      const map = graph.reshape(cast(graph, x, compute), [x.shape[0]!, ...grid, embedDim]);
      const narrow = convolution(
        graph,
        '0',
        map,
        outChans,
        { kernel: 1, stride: 1 },
        { bias: false, dtype: 'f32' },
      );
      const normed = normLayer(graph, '1', narrow, { eps: 1e-6, dtype: compute });
      const patches = { kernel: 3, stride: 1, padding: 1 };
      return normLayer(
        graph,
        '3',
        convolution(graph, '2', normed, outChans, patches, { bias: false, dtype: 'f32' }),
        { eps: 1e-6 },
      );
    });
  });
}

function embed(graph: Graph, image: Value, [h, w]: Grid, config: EncoderConfig, compute: ComputeType): Value {
  const { embedDim, patchSize, imgSize, useAbsPos } = config;
  const side = imgSize / patchSize;
  if (useAbsPos && (h !== side || w !== side)) {
    throw new HrsamError('ERR_SHAPE', 'input of an encoder with absolute positions', {
      where: graph.layer,
      expected: `${imgSize} × ${imgSize}`,
      actual: `${h * patchSize} × ${w * patchSize}`,
    });
  }
  const residual = useAbsPos ? weight(graph, 'pos_embed', [1, side, side, embedDim]) : undefined;
  const patches = { kernel: patchSize, stride: patchSize, channelsLast: false, dtype: compute };
  const embedded = graph.scope('patch_embed', () =>
    convolution(graph, 'proj', image, embedDim, patches, { residual, dtype: 'f32' }),
  );
  return graph.reshape(embedded, [image.shape[0]!, h * w, embedDim]);
}

/** Block `index`, tokens (B, L, C) → same. */
export function samBlock(
  graph: Graph,
  index: number,
  x: Value,
  grid: Grid,
  config: EncoderConfig,
  compute: ComputeType,
  scales: BranchScales = () => undefined,
): Value {
  const { embedDim, mlpRatio, normEps: eps, globalBlocks } = config;
  const window = globalBlocks.includes(index) ? 0 : config.windowSize;
  return graph.recomputable(`blocks.${index}`, () => {
    const y = normLayer(graph, 'norm1', x, { eps, dtype: compute });
    const attended = graph.scope('attn', () => {
      const qkv = linearLayer(graph, 'qkv', y, 3 * embedDim, { bias: config.qkvBias });
      return residualLayer(graph, 'proj', attend(graph, qkv, window, grid, config, compute), x, scales());
    });
    const z = normLayer(graph, 'norm2', attended, { eps, dtype: compute });
    return graph.scope('mlp', () => {
      const hidden = linearLayer(graph, 'lin1', z, Math.floor(embedDim * mlpRatio), { activation: 'gelu' });
      return residualLayer(graph, 'lin2', hidden, attended, scales());
    });
  });
}

function attend(
  graph: Graph,
  qkv: Value,
  window: number,
  grid: Grid,
  config: EncoderConfig,
  compute: ComputeType,
): Value {
  const { heads, embedDim, imgSize, patchSize } = config;
  const table = (axis: 'h' | 'w', size: number): Value | undefined => {
    if (!config.useRelPos) return undefined;
    const given = config.relPosRows?.[window ? 'windowed' : 'global'][axis === 'h' ? 0 : 1];
    const length = given ?? 2 * (window || imgSize / patchSize) - 1;
    return relPos(graph, weight(graph, `rel_pos_${axis}`, [length, embedDim / heads]), size, size);
  };
  if (window === 0) {
    return attention(graph, qkv, undefined, {
      heads,
      grids: [grid],
      relH: table('h', grid[0]),
      relW: table('w', grid[1]),
    });
  }
  // A padded token is zero before the projection, so its qkv row is the bias, or zero where there is none.
  const row = config.qkvBias
    ? graph.scope('qkv', () => weight(graph, 'bias', [3 * embedDim]))
    : zeroRow(graph, 3 * embedDim);
  return windowAttention(graph, qkv, {
    heads,
    window,
    grids: [grid],
    pad: graph.reshape(cast(graph, row, compute), [1, 3 * embedDim]),
    relH: table('h', window),
    relW: table('w', window),
  });
}

/** `width` zeros: what `pad` puts before a value, be it which it may. */
function zeroRow(graph: Graph, width: number): Value {
  const matrix = graph.scope('qkv', () => weight(graph, 'weight', [width, width / 3]));
  const first = graph.rows(graph.reshape(matrix, [-1]), 0, 1);
  return graph.rows(pad(graph, first, 0, width, width + 1), 0, width);
}
