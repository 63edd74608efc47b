import type { Grid } from '../../lib/graph/grid.js';
import type { AttentionOptions } from '../../lib/graph/ops/attention.js';
import type { Rope, WindowAttentionOptions } from '../../lib/graph/ops/window_attention.js';
import { attend, dot, type Row, rotate } from './naive.js';
import type { HostTensor } from './reference.js';

/** One position of a window or of a grid, as attention sees it. */
export interface Place {
  /** Index in the token axis; −1 for padding. */
  token: number;
  /** Where it stands: RoPE and relative positions use differences of these. */
  row: number;
  column: number;
  /** Only places of one region attend to each other. */
  region: number;
}

export interface WindowMap {
  window: number;
  grids: readonly Grid[];
  before?: number;
  cyclicShift?: number;
}

/** The places of each window. */
export function windows({ window, grids, before = 0, cyclicShift = 0 }: WindowMap): Place[][] {
  const found: Place[][] = [];
  let start = 0;
  for (const [h, w] of grids) {
    const sides = [h, w].map((side) => Math.ceil((side + before) / window) * window) as [number, number];
    const region = (at: number, side: number) =>
      cyclicShift === 0 || at < side - window ? 0 : at < side - cyclicShift ? 1 : 2;
    for (let top = 0; top < sides[0]; top += window) {
      for (let left = 0; left < sides[1]; left += window) {
        const places: Place[] = [];
        for (let i = 0; i < window * window; i++) {
          const [row, column] = [top + Math.floor(i / window), left + (i % window)];
          const y = ((row + cyclicShift) % sides[0]) - before;
          const x = ((column + cyclicShift) % sides[1]) - before;
          const inside = y >= 0 && y < h && x >= 0 && x < w;
          places.push({
            token: inside ? start + y * w + x : -1,
            row,
            column,
            region: 3 * region(row, sides[0]) + region(column, sides[1]),
          });
        }
        found.push(places);
      }
    }
    start += h * w;
  }
  return found;
}

interface Bias {
  rope?: Rope;
  /** Added to the logit of two places, from the query's unscaled head. */
  bias?: (q: Row, query: Place, key: Place) => number;
}

/** Attention among the places of each group, of packed qkv (B, L, 3C) → (B, L, C). */
export function attendInGroups(
  { shape, data }: HostTensor,
  groups: readonly Place[][],
  heads: number,
  { rope, bias }: Bias = {},
  pad?: Float32Array,
): Float32Array {
  const [batch, tokens, width] = shape as [number, number, number];
  const channels = width / 3;
  const dim = channels / heads;
  const out = new Float32Array(batch * tokens * channels);
  for (let b = 0; b < batch; b++) {
    for (const places of groups) {
      const rows = places.map(({ token }) => {
        const at = (b * tokens + token) * width;
        return token < 0 ? pad! : data.subarray(at, at + width);
      });
      for (let head = 0; head < heads; head++) {
        const part = (which: number, i: number): Row => {
          const start = which * channels + head * dim;
          const values = rows[i]!.subarray(start, start + dim);
          return rope && which < 2 ? rotate(values, places[i]!.row, places[i]!.column, rope) : values;
        };
        const q = places.map((_, i) => part(0, i));
        const k = places.map((_, i) => part(1, i));
        const v = places.map((_, i) => part(2, i));
        places.forEach((query, i) => {
          if (query.token < 0) return;
          const mine = places.map((_, j) => j).filter((j) => places[j]!.region === query.region);
          const logits = mine.map(
            (j) => dot(q[i]!, k[j]!) / Math.sqrt(dim) + (bias?.(q[i]!, query, places[j]!) ?? 0),
          );
          const values = mine.map((j) => v[j]!);
          out.set(attend(logits, values, dim), (b * tokens + query.token) * channels + head * dim);
        });
      }
    }
  }
  return out;
}

/** Segment Anything's bias: tables (queries, keys, d) per axis, looked up by the rows and columns of two places. */
export const decomposed =
  (relH: HostTensor, relW: HostTensor, wrap = Number.POSITIVE_INFINITY): Bias['bias'] =>
  (q, query, key) => {
    const entry = ({ shape, data }: HostTensor, i: number, j: number) => {
      const at = (i * shape[1]! + j) * shape[2]!;
      return data.subarray(at, at + shape[2]!);
    };
    const local = (at: number) => (Number.isFinite(wrap) ? at % wrap : at);
    return (
      dot(q, entry(relH, local(query.row), local(key.row))) +
      dot(q, entry(relW, local(query.column), local(key.column)))
    );
  };

export function windowAttention(
  qkv: HostTensor,
  options: Omit<WindowAttentionOptions, 'pad' | 'relH' | 'relW'> & {
    pad?: HostTensor;
    relH?: HostTensor;
    relW?: HostTensor;
  },
): Float32Array {
  const { heads, rope, pad, relH, relW, window } = options;
  const bias = relH && relW && decomposed(relH, relW, window);
  return attendInGroups(qkv, windows(options), heads, { rope, bias }, pad?.data);
}

/** Attention of packed qkv among all tokens of each grid. */
export function gridAttention(
  qkv: HostTensor,
  {
    heads,
    grids = [],
    rope,
    relH,
    relW,
  }: Omit<AttentionOptions, 'relH' | 'relW'> & { relH?: HostTensor; relW?: HostTensor },
): Float32Array {
  let start = 0;
  const groups = grids.map(([h, w]) => {
    const first = start;
    start += h * w;
    return Array.from({ length: h * w }, (_, i) => ({
      token: first + i,
      row: Math.floor(i / w),
      column: i % w,
      region: 0,
    }));
  });
  return attendInGroups(qkv, groups, heads, { rope, bias: relH && relW && decomposed(relH, relW) });
}
