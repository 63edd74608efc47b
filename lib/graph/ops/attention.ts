import { optionsOf } from '../../options.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Operands, Value } from '../graph.js';
import { type Grid, gridSides, gridSquares, gridsOf, gridTokens } from '../grid.js';
import { attentionGradient } from './attention_gradient.js';
import { attentionRelativeGradient } from './attention_relative_gradient.js';
import { type Rope, relativeFlops } from './window_attention.js';

/** Relative positions need one grid of queries and one of keys, and tables of their sides. */
function checkRelative(
  { q, k, rel_h: relH, rel_w: relW }: Operands,
  dim: number,
  queries: readonly Grid[],
  keys: readonly Grid[],
  fail: (expected: string) => never,
): void {
  if (!relH && !relW) return;
  if (!relH || !relW) fail('rel_h and rel_w, or neither');
  const whole = gridTokens(queries) === q!.shape[1] && gridTokens(keys) === (k ?? q!).shape[1];
  if (queries.length !== 1 || keys.length !== 1 || !whole)
    fail('with rel_h and rel_w one grid of all queries and one of all keys');
  const wanted = [0, 1].map((axis) => [queries[0]![axis], keys[0]![axis], dim].join(', '));
  if (relH!.shape.join(', ') !== wanted[0] || relW!.shape.join(', ') !== wanted[1]) {
    fail(`rel_h (${wanted[0]}), rel_w (${wanted[1]})`);
  }
}

export const attentionOp: OpDefinition = {
  name: 'attention',
  operands: ['q', 'k?', 'v?', 'lengths?', 'rel_h?', 'rel_w?'],
  attributes: {
    heads: 'number',
    rope_theta: 'number',
    rope_scale: 'number',
    grids: 'list',
    q_grid: 'list',
    k_grid: 'list',
  },
  infer({ operands, attributes, dtype, fail }) {
    const { q, k, v, lengths } = operands as Record<string, Value>;
    const [batch, tokens, width] = q!.shape;
    const heads = attributes.heads as number;
    if (q!.shape.length !== 3) return fail('q (B, L, C)');
    if (lengths && (lengths.dtype !== 'i32' || lengths.shape.join() !== `${batch}`))
      return fail(`lengths i32 (${batch})`);
    if (!k !== !v) return fail('k and v, or neither');
    const grids = gridsOf(attributes.grids);
    if (!k) {
      if (width! % (3 * heads) !== 0) return fail(`packed q (B, L, 3C) with C a multiple of ${heads} heads`);
      if (grids.length > 0 && gridTokens(grids) !== tokens) return fail(`grids of ${tokens} tokens`);
      checkRelative(operands, width! / 3 / heads, grids, grids, fail);
      return { shape: [batch!, tokens!, width! / 3], dtype: dtype ?? q!.dtype };
    }
    const [batchK, keys, widthK] = k.shape;
    const same = k.shape.join() === v!.shape.join() && (batchK === batch || batchK === 1);
    if (!same || widthK !== width || keys === 0 || width! % heads !== 0)
      return fail(`k, v (${batch} or 1, Lk, ${width})`);
    const [queryGrid, keyGrid] = [attributes.q_grid, attributes.k_grid].map(gridsOf);
    checkRelative(operands, width! / heads, queryGrid!, keyGrid!, fail);
    return { shape: q!.shape, dtype: dtype ?? q!.dtype };
  },
  flops(node: Node) {
    const { operands, attributes, result } = node;
    const { q, k } = operands;
    if (k) return 4 * elementCount(result.shape) * k.shape[1]! + relativeFlops(node);
    const squares = gridSquares(gridsOf(attributes.grids)) || q!.shape[1]! ** 2;
    return 4 * q!.shape[0]! * squares * result.shape.at(-1)! + relativeFlops(node);
  },
  gradient({ graph, node, dy, wants }) {
    const relative = wants('rel_h') || wants('rel_w');
    return {
      ...attentionGradient(graph, node, dy),
      ...(relative && attentionRelativeGradient(graph, node, dy)),
    };
  },
};

/** Options of `attention`. */
export interface AttentionOptions {
  /** Each has C / heads channels. */
  heads: number;
  /** Only the first lengths[b] keys of item b count: i32 (B). */
  lengths?: Value;
  /** Packed only: token grids, each attending to itself alone; RoPE and rel_h/rel_w need them. */
  grids?: readonly Grid[];
  /** Rotary positions; absent: none. */
  rope?: Rope;
  /** Decomposed relative positions: rows (qh, kh, d). */
  relH?: Value;
  /** The same, columns (qw, kw, d). */
  relW?: Value;
  /** Unpacked with relative positions: the grid of queries. */
  queryGrid?: Grid;
  /** The grid of keys, as `queryGrid`. */
  keyGrid?: Grid;
}

const checkOptions = optionsOf<AttentionOptions>({
  heads: true,
  lengths: true,
  grids: true,
  rope: true,
  relH: true,
  relW: true,
  queryGrid: true,
  keyGrid: true,
});

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
  checkOptions(options, 'attention');
  const { heads, lengths, grids = [], rope, relH, relW, queryGrid = [], keyGrid = [] } = options;
  return graph.add(
    attentionOp,
    { q, k: keys?.k, v: keys?.v, lengths, rel_h: relH, rel_w: relW },
    {
      heads,
      rope_theta: rope?.theta ?? 0,
      rope_scale: rope?.scale ?? 0,
      grids: gridSides(grids, graph.layer),
      q_grid: queryGrid,
      k_grid: keyGrid,
    },
  );
}
