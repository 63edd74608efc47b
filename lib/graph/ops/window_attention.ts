import { optionsOf } from '../../options.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';
import { type Grid, gridSides, gridsOf, gridTokens } from '../grid.js';
import { windowAttentionGradient } from './window_attention_gradient.js';
import { windowAttentionRelativeGradient } from './window_attention_relative_gradient.js';

/** RoPE: base of the frequencies, and what positions are multiplied by. */
export interface Rope {
  /** Base of the frequencies. */
  theta: number;
  /** What positions are multiplied by. */
  scale: number;
}

/** Of SAM's decomposed relative positions: each query with a row of rel_h for each row of keys, and of rel_w. */
export const relativeFlops = ({ operands, result }: Node): number =>
  [operands.rel_h, operands.rel_w].reduce(
    (sum, rel) => sum + (rel ? 2 * elementCount(result.shape) * rel.shape[1]! : 0),
    0,
  );

export const windowAttentionOp: OpDefinition = {
  name: 'window_attention',
  operands: ['qkv', 'pad?', 'rel_h?', 'rel_w?'],
  attributes: {
    heads: 'number',
    window: 'number',
    before: 'number',
    shift: 'number',
    rope_theta: 'number',
    rope_scale: 'number',
    scales: 'list',
  },
  infer({ operands, attributes, dtype, fail }) {
    const { qkv, pad, rel_h: relH, rel_w: relW } = operands as Record<string, Value>;
    const [batch, tokens, triple] = qkv!.shape;
    const heads = attributes.heads as number;
    const window = attributes.window as number;
    const expected = gridTokens(gridsOf(attributes.scales));
    if (qkv!.shape.length !== 3 || tokens !== expected) return fail(`qkv (B, ${expected}, 3C)`);
    if (triple! % (3 * heads) !== 0) return fail(`3C a multiple of 3 · ${heads} heads`);
    if (pad && elementCount(pad.shape) !== triple) return fail(`pad (1, ${triple})`);
    const dim = triple! / 3 / heads;
    for (const rel of [relH, relW]) {
      if (rel && rel.shape.join() !== [window, window, dim].join())
        return fail(`rel_h, rel_w (${window}, ${window}, ${dim})`);
    }
    return { shape: [batch!, tokens!, triple! / 3], dtype: dtype ?? qkv!.dtype };
  },
  // Each token attends to the window² positions of its window, padded ones included.
  flops: (node: Node) =>
    4 * elementCount(node.result.shape) * (node.attributes.window as number) ** 2 + relativeFlops(node),
  gradient({ graph, node, dy, wants }) {
    const { qkv, pad } = windowAttentionGradient(graph, node, dy);
    const relative = wants('rel_h') || wants('rel_w');
    return {
      qkv,
      pad: wants('pad') ? graph.reshape(pad, node.operands.pad!.shape) : undefined,
      ...(relative && windowAttentionRelativeGradient(graph, node, dy)),
    };
  },
};

/** Options of `windowAttention`. */
export interface WindowAttentionOptions {
  /** Each has C / heads channels. */
  heads: number;
  /** Rows and columns of a window, in tokens. */
  window: number;
  /** Token grids, one after the other in the token axis. Windows never mix them. */
  grids: readonly Grid[];
  /** Rows and columns of padding at the top and left. The bottom and right are padded to whole windows. */
  before?: number;
  /** Swin: roll by this much instead, and attend only inside one's own region. */
  cyclicShift?: number;
  /** Rotary positions; absent: none. */
  rope?: Rope;
  /** The qkv row of every padded position. */
  pad?: Value;
  /** SAM's decomposed relative positions of a window: rows (window, window, d). */
  relH?: Value;
  /** The same, columns. */
  relW?: Value;
}

const checkOptions = optionsOf<WindowAttentionOptions>({
  heads: true,
  window: true,
  grids: true,
  before: true,
  cyclicShift: true,
  rope: true,
  pad: true,
  relH: true,
  relW: true,
});

/**
 * Attention inside windows, qkv (B, L, 3C) → (B, L, C). Partition, shift, padding and their inverses are an index map
 * inside the kernel. HRSAM (arXiv 2407.02109), section on window attention; Swin (2103.14030); SAM (2304.02643).
 */
export function windowAttention(graph: Graph, qkv: Value, options: WindowAttentionOptions): Value {
  checkOptions(options, 'window_attention');
  const { heads, window, grids, before = 0, cyclicShift = 0, rope, pad, relH, relW } = options;
  return graph.add(
    windowAttentionOp,
    { qkv, pad, rel_h: relH, rel_w: relW },
    {
      heads,
      window,
      before,
      shift: cyclicShift,
      rope_theta: rope?.theta ?? 0,
      rope_scale: rope?.scale ?? 0,
      scales: gridSides(grids, graph.layer),
    },
  );
}
