import type { Graph, Value } from '../graph/graph.js';
import { type Grid, gridTokens } from '../graph/grid.js';
import { add } from '../graph/ops/add.js';
import { bilinearResize } from '../graph/ops/bilinear_resize.js';
import { cast } from '../graph/ops/cast.js';
import { concat } from '../graph/ops/concat.js';
import { depthwiseConv } from '../graph/ops/depthwise_conv.js';
import { slice } from '../graph/ops/slice.js';
import type { HrsamConfig } from '../weights/config.js';
import { block } from './block.js';
import { cycleScanBlock } from './cycle_scan_block.js';
import { branchScales } from './drop_path.js';
import { type ComputeType, convolution, linearLayer, normLayer, weight } from './layers.js';

type EncoderConfig = HrsamConfig['encoder'];

/**
 * The HRSAM and HRSAM++ encoders: image (B, 3, H, W) f32, normalised, H and W multiples of the patch → embedding
 * (B, h, w, E) f32. arXiv 2407.02109. HRSAM++ is HRSAM with `downsampleSizes`; with 0 `cycles` there are no scans.
 */
export function hrsamEncoder(graph: Graph, image: Value, config: EncoderConfig, compute: ComputeType): Value {
  return graph.scope('backbone', () => {
    const { tokens, grids } = embedScales(graph, image, config, compute);
    graph.mark('tokens', tokens);
    const multiScale = grids.length > 1;
    const scales = branchScales(graph, { encoder: config }, image.shape[0]!);
    const scan = { stateDim: config.stateDim, cycles: config.cycles, compute, scales };
    const sequences = grids.map(([h, w]) => h * w);
    let x = tokens;
    let sum: Value | undefined;
    for (let i = 0; i < config.depth; i++) {
      const stage = config.stageEnds.indexOf(i);
      const scanned = stage >= 0 && config.cycles > 0;
      const scanBlock = (name: string, segments: readonly number[]) => {
        x = graph.mark(
          `${name}.${stage}`,
          cycleScanBlock(graph, `${name}.${stage}`, x, { ...scan, segments }),
        );
      };
      // The scales on their own before the stage's last block; in HRSAM++ all of them as one sequence after it.
      if (scanned) scanBlock(multiScale ? 'ss_mamba_blocks' : 'mamba_blocks', sequences);
      x = graph.mark(
        `blocks.${i}`,
        block(graph, `blocks.${i}`, x, {
          ...config,
          window: config.windowSize,
          kind: config.attention[i]!,
          grids,
          compute,
          scales,
        }),
      );
      if (scanned && multiScale) scanBlock('ms_mamba_blocks', [gridTokens(grids)]);
      if (stage >= 0) {
        const tap = lateral(graph, stage, fuseScales(graph, stage, x, grids), config.outDim, compute);
        sum = sum ? add(graph, tap, sum) : tap;
      }
    }
    return outputLayer(graph, sum!);
  });
}

/** Patch and position embedding of the image and, in HRSAM++, of its resized copies, one after the other. */
function embedScales(
  graph: Graph,
  image: Value,
  config: EncoderConfig,
  compute: ComputeType,
): { tokens: Value; grids: Grid[] } {
  const copies = config.downsampleSizes.map((size) => bilinearResize(graph, image, size, false));
  const grids: Grid[] = [];
  const parts = [image, ...copies].map((scale) => {
    const [, , height, width] = scale.shape;
    const grid: Grid = [height! / config.patchSize, width! / config.patchSize];
    grids.push(grid);
    return patchEmbedding(graph, scale, grid, config, compute);
  });
  return { tokens: concat(graph, parts, 1), grids };
}

function patchEmbedding(
  graph: Graph,
  image: Value,
  [h, w]: Grid,
  config: EncoderConfig,
  compute: ComputeType,
): Value {
  const { embedDim, patchSize, posGrid } = config;
  const table = weight(graph, 'pos_embed', [1, 1 + posGrid * posGrid, embedDim]);
  // Row 0 belonged to the class token of the pre-trained network.
  const cells = graph.reshape(slice(graph, table, 1, 1, 1 + posGrid * posGrid), [
    1,
    posGrid,
    posGrid,
    embedDim,
  ]);
  const position = h === posGrid && w === posGrid ? cells : bilinearResize(graph, cells, [h, w]);
  const embedded = graph.scope('patch_embed', () =>
    convolution(
      graph,
      'proj',
      image,
      embedDim,
      { kernel: patchSize, stride: patchSize, channelsLast: false, dtype: compute },
      { residual: position },
    ),
  );
  return graph.reshape(embedded, [image.shape[0]!, h * w, embedDim]);
}

/** A stage's tokens as a map (B, h, w, scales·C): coarser scales enlarged to the first, normalised, side by side. */
export function fuseScales(graph: Graph, stage: number, x: Value, grids: readonly Grid[]): Value {
  const [batch, , channels] = x.shape;
  const [full] = grids;
  if (grids.length === 1) return graph.reshape(x, [batch!, ...full!, channels!]);
  let start = 0;
  const maps = grids.map(([h, w]) => {
    const map = graph.reshape(slice(graph, x, 1, start, start + h * w), [batch!, h, w, channels!]);
    start += h * w;
    const whole = h === full![0] && w === full![1] ? map : bilinearResize(graph, map, full!);
    return normLayer(graph, `multi_scale_fusion.${stage}.0`, whole);
  });
  return graph.mark(`multi_scale_fusion.${stage}`, concat(graph, maps, 3));
}

/** A stage's map in the embedding's width: (B, h, w, scales·C) → (B, h, w, outDim) f32. */
export function lateral(
  graph: Graph,
  stage: number,
  map: Value,
  outDim: number,
  compute: ComputeType,
): Value {
  return graph.scope(`lateral_convs.${stage}`, () => {
    const projected = linearLayer(graph, '0', cast(graph, map, compute), outDim, {
      bias: false,
      dtype: 'f32',
    });
    return graph.mark(`lateral_convs.${stage}`, normLayer(graph, '1', projected));
  });
}

/** The stages' sum (B, h, w, outDim) → the embedding, same shape. */
export function outputLayer(graph: Graph, sum: Value): Value {
  return graph.scope('out_conv', () => {
    const kernel = graph.scope('0', () => weight(graph, 'weight', [sum.shape[3]!, 1, 3, 3]));
    return normLayer(graph, '2', depthwiseConv(graph, sum, kernel));
  });
}
