import type { Graph, Value } from '../graph/graph.js';
import type { Grid } from '../graph/grid.js';
import { attention } from '../graph/ops/attention.js';
import { cast } from '../graph/ops/cast.js';
import { linear } from '../graph/ops/linear.js';
import { type Rope, windowAttention } from '../graph/ops/window_attention.js';
import type { AttentionKind } from '../weights/config.js';
import type { BranchScales } from './drop_path.js';
import { type ComputeType, linearLayer, normLayer, residualLayer, weight } from './layers.js';

export interface BlockOptions {
  kind: AttentionKind;
  heads: number;
  window: number;
  mlpRatio: number;
  rope: Rope;
  /** Token grids of the scales, one after the other in the token axis. */
  grids: readonly Grid[];
  compute: ComputeType;
  /** What the branches count. Default: all of them 1. */
  scales?: BranchScales;
}

/** One block, x (B, L, C) f32 → same: x += Attn(LN(x)); x += fc2(GELU(fc1(LN(x)))). HRSAM, arXiv 2407.02109. */
export function block(graph: Graph, name: string, x: Value, options: BlockOptions): Value {
  return graph.recomputable(name, () => {
    const attended = attentionLayer(graph, x, options);
    return mlp(graph, attended, options);
  });
}

function attentionLayer(graph: Graph, x: Value, options: BlockOptions): Value {
  const channels = x.shape[2]!;
  const y = normLayer(graph, 'norm1', x, { dtype: options.compute });
  return graph.scope('attn', () => {
    const qkv = linearLayer(graph, 'qkv', y, 3 * channels);
    return residualLayer(graph, 'proj', attend(graph, qkv, options), x, options.scales?.());
  });
}

function attend(
  graph: Graph,
  qkv: Value,
  { kind, heads, window, rope, grids, compute }: BlockOptions,
): Value {
  if (kind === 'global') return attention(graph, qkv, undefined, { heads, grids, rope });
  const half = Math.floor(window / 2);
  return windowAttention(graph, qkv, {
    heads,
    window,
    grids,
    rope,
    // The padding vector is projected like any token, so every padded position has one and the same qkv row.
    pad: padRow(graph, qkv.shape[2]!, compute),
    before: kind === 'shifted' ? (window - half) % window : 0,
    cyclicShift: kind === 'swin' ? half : 0,
  });
}

function padRow(graph: Graph, width: number, compute: ComputeType): Value {
  const channels = width / 3;
  const padding = cast(graph, weight(graph, 'padding', [1, channels]), compute);
  return graph.scope('qkv', () =>
    linear(graph, padding, weight(graph, 'weight', [width, channels]), {
      bias: weight(graph, 'bias', [width]),
    }),
  );
}

function mlp(graph: Graph, x: Value, { mlpRatio, compute, scales }: BlockOptions): Value {
  const channels = x.shape[2]!;
  const y = normLayer(graph, 'norm2', x, { dtype: compute });
  return graph.scope('mlp', () => {
    const hidden = linearLayer(graph, 'fc1', y, Math.floor(channels * mlpRatio), { activation: 'gelu' });
    return residualLayer(graph, 'fc2', hidden, x, scales?.());
  });
}
