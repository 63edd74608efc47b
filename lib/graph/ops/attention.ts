import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';
import { type Grid, gridTokens, type Rope } from './window_attention.js';

const pairs = (flat: readonly number[]): Grid[] => {
  const grids: Grid[] = [];
  for (let i = 0; i < flat.length; i += 2) grids.push([flat[i]!, flat[i + 1]!]);
  return grids;
};

export const attentionOp: OpDefinition = {
  name: 'attention',
  operands: ['q', 'k?', 'v?', 'lengths?', 'rel_h?', 'rel_w?'],
  infer({ operands, attributes, dtype, fail }) {
    const { q, k, v, lengths } = operands as Record<string, Value>;
    const [batch, tokens, width] = q!.shape;
    const heads = attributes.heads as number;
    if (q!.shape.length !== 3) return fail('q (B, L, C)');
    if (lengths && (lengths.dtype !== 'i32' || lengths.shape.join() !== `${batch}`))
      return fail(`lengths i32 (${batch})`);
    if (!k !== !v) return fail('k and v, or neither');
    if (!k) {
      const grids = pairs(attributes.grids as number[]);
      if (width! % (3 * heads) !== 0) return fail(`packed q (B, L, 3C) with C a multiple of ${heads} heads`);
      if (grids.length > 0 && gridTokens(grids) !== tokens) return fail(`grids of ${tokens} tokens`);
      return { shape: [batch!, tokens!, width! / 3], dtype: dtype ?? q!.dtype };
    }
    const [batchK, keys, widthK] = k.shape;
    const same = k.shape.join() === v!.shape.join() && (batchK === batch || batchK === 1);
    if (!same || widthK !== width || keys === 0 || width! % heads !== 0)
      return fail(`k, v (${batch} or 1, Lk, ${width})`);
    return { shape: q!.shape, dtype: dtype ?? q!.dtype };
  },
  flops({ operands, attributes, result }: Node) {
    const { q, k } = operands;
    if (k) return 4 * elementCount(result.shape) * k.shape[1]!;
    const grids = pairs(attributes.grids as number[]);
    const squares =
      grids.length > 0 ? grids.reduce((sum, [h, w]) => sum + (h * w) ** 2, 0) : q!.shape[1]! ** 2;
    return 4 * q!.shape[0]! * squares * result.shape.at(-1)!;
  },
};

export interface AttentionOptions {
  heads: number;
  /** Only the first lengths[b] keys of item b count: i32 (B). */
  lengths?: Value;
  /** Packed only: token grids, each attending to itself alone; RoPE and rel_h/rel_w need them. */
  grids?: readonly Grid[];
  rope?: Rope;
  /** Decomposed relative positions: (qh, kh, d) and (qw, kw, d). */
  relH?: Value;
  relW?: Value;
  /** Unpacked with relative positions: the grids of queries and keys. */
  queryGrid?: Grid;
  keyGrid?: Grid;
}

/**
 * Flash attention: q (B, Lq, C), k and v (B or 1, Lk, C) → (B, Lq, C); or packed, q alone being qkv (B, L, 3C).
 * Online softmax; the logits are never stored.
 */
export function attention(
  graph: Graph,
  q: Value,
  keys: { k: Value; v: Value } | undefined,
  options: AttentionOptions,
): Value {
  const { heads, lengths, grids = [], rope, relH, relW, queryGrid = [], keyGrid = [] } = options;
  return graph.add(
    attentionOp,
    { q, k: keys?.k, v: keys?.v, lengths, rel_h: relH, rel_w: relW },
    {
      heads,
      rope_theta: rope?.theta ?? 0,
      rope_scale: rope?.scale ?? 0,
      grids: grids.flat(),
      q_grid: queryGrid,
      k_grid: keyGrid,
    },
  );
}
