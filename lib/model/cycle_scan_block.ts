import type { Graph, Value } from '../graph/graph.js';
import { cycleScan } from '../graph/ops/cycle_scan.js';
import { linear } from '../graph/ops/linear.js';
import type { BranchScales } from './drop_path.js';
import { type ComputeType, linearLayer, normLayer, residualLayer, weight } from './layers.js';

export interface CycleScanBlockOptions {
  stateDim: number;
  cycles: number;
  /** Token counts of the sequences in the token axis, each scanned on its own. */
  segments: readonly number[];
  compute: ComputeType;
  /** What the branch counts. Default: 1. */
  scales?: BranchScales;
}

/**
 * The cycle-scan block, x (B, L, C) f32 → same: s = LN(x); (u, z) = SiLU(in_proj(s)); y = scan of u, read R times;
 * x + out_proj(z ⊙ LN(y)). HRSAM, arXiv 2407.02109.
 */
export function cycleScanBlock(graph: Graph, name: string, x: Value, options: CycleScanBlockOptions): Value {
  const { stateDim, cycles, segments, compute, scales } = options;
  const channels = x.shape[2]!;
  return graph.recomputable(name, () => {
    const s = normLayer(graph, 'in_norm', x, { dtype: compute });
    const [u, z] = graph.scope('in_proj.0', () => {
      const matrix = weight(graph, 'weight', [2 * channels, channels]);
      const bias = weight(graph, 'bias', [2 * channels]);
      return [0, channels].map((start) =>
        linear(graph, s, graph.rows(matrix, start, start + channels), {
          bias: graph.rows(bias, start, start + channels),
          activation: 'silu',
        }),
      );
    });
    const ssm = linearLayer(graph, 'ssm_proj', u!, channels + 2 * stateDim, { dtype: 'f32' });
    const y = cycleScan(graph, u!, ssm, weight(graph, 'As_log', [channels, stateDim]), {
      dtBias: weight(graph, 'ssm_proj_bias', [channels]),
      d: weight(graph, 'Ds', [channels]),
      gamma: weight(graph, 'gamma', [channels, cycles, 1]),
      segments,
      fast: compute !== 'f32',
      dtype: 'f32',
    });
    const gated = normLayer(graph, 'out_norm', y, { gate: z, dtype: compute });
    return residualLayer(graph, 'out_proj', gated, x, scales?.());
  });
}
