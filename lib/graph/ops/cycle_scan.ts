import { optionsOf } from '../../options.js';
import { type DType, elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';
import { cycleScanGradient } from './cycle_scan_gradient.js';

export const cycleScanOp: OpDefinition = {
  name: 'cycle_scan',
  operands: ['u', 'ssm', 'a_log', 'dt_bias?', 'd?', 'gamma?'],
  attributes: { segments: 'list', softplus: 'flag', literal: 'flag', fast: 'flag' },
  infer({ operands, attributes, dtype, fail }) {
    const { u, ssm, a_log: aLog, dt_bias: dtBias, d, gamma } = operands as Record<string, Value>;
    const [batch, tokens, channels] = u!.shape;
    const states = aLog!.shape[1];
    if (u!.shape.length !== 3 || aLog!.shape.length !== 2 || aLog!.shape[0] !== channels)
      return fail(`u (B, L, C), a_log (C, N)`);
    if (ssm!.shape.join() !== [batch, tokens, channels! + 2 * states!].join())
      return fail(`ssm (${batch}, ${tokens}, C + 2N)`);
    for (const vector of [dtBias, d])
      if (vector && vector.shape.join() !== `${channels}`) return fail(`dt_bias, d (${channels})`);
    if (gamma && (gamma.shape[0] !== channels || gamma.shape.length !== 3 || gamma.shape[2] !== 1))
      return fail(`gamma (${channels}, R, 1)`);
    const total = (attributes.segments as number[]).reduce((sum, length) => sum + length, 0);
    if (total !== tokens) return fail(`segments that sum to ${tokens}`);
    return { shape: u!.shape, dtype: dtype ?? u!.dtype };
  },
  // Per state: Δ·A, exp, the update (2 multiply-adds) and the product with C; the readings collapse into one.
  flops: ({ operands, result }: Node) => 8 * elementCount(result.shape) * operands.a_log!.shape[1]!,
  gradient: ({ graph, node, dy }) => cycleScanGradient(graph, node, dy),
};

/** Options of `cycleScan`. */
export interface CycleScanOptions {
  /** Added to Δ, (C). Absent: nothing. */
  dtBias?: Value;
  /** The skip's factor D, (C). Absent: no skip. */
  d?: Value;
  /** Weights of the readings (C, R, 1); absent: one reading. */
  gamma?: Value;
  /** Token counts of the sequences that follow each other in the token axis, each starting from a zero state. */
  segments: readonly number[];
  /** Δ = softplus(Δ + dt_bias), else Δ + dt_bias. Default true. */
  softplus?: boolean;
  /** Read the sequence R times in a row as the paper writes it, instead of at the price of one reading. Default false. */
  literal?: boolean;
  /**
   * Powers by the quickest instruction a GPU has, off by up to 2^-22 each, thousands of which are multiplied: for results that
   * are rounded to bf16. Default false: each to 9e-8.
   */
  fast?: boolean;
  /** Type of the result; default: u's. */
  dtype?: DType;
}

const checkOptions = optionsOf<CycleScanOptions>({
  dtBias: true,
  d: true,
  gamma: true,
  segments: true,
  softplus: true,
  literal: true,
  fast: true,
  dtype: true,
});

/**
 * The cycle scan's selective state-space model: u (B, L, C), ssm (B, L, C + 2N) = (Δ, B, C) per token → (B, L, C).
 * h = exp(Δ·A)·h + Δ·B·u, y = ⟨C, h⟩ + D·u with A = −exp(a_log), read R times without resetting h; the result is
 * Σ_r γ_r·y^(r). HRSAM (arXiv 2407.02109), Mamba (2312.00752). The state is f32 in every mode.
 */
export function cycleScan(graph: Graph, u: Value, ssm: Value, aLog: Value, options: CycleScanOptions): Value {
  checkOptions(options, 'cycle_scan');
  const { dtBias, d, gamma, segments, softplus = true, literal = false, fast = false, dtype } = options;
  const operands = { u, ssm, a_log: aLog, dt_bias: dtBias, d, gamma };
  return graph.add(cycleScanOp, operands, { segments, softplus, literal, fast }, dtype);
}
