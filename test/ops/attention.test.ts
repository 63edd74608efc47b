import { describe, expect, it } from 'vitest';
import type { Grid } from '../../lib/graph/grid.js';
import { type AttentionOptions, attention } from '../../lib/graph/ops/attention.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { relPos } from '../../lib/graph/ops/rel_pos.js';
import { expectClose, expectWithin } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { item, reshaped } from '../support/layout.js';
import { attend, dot } from '../support/naive.js';
import * as naive from '../support/naive_attention.js';
import {
  generate,
  type HostTensor,
  HostTensors,
  samNoise,
  samOps,
  type TensorRule,
} from '../support/reference.js';
import { type HostValues, host, type RunOptions, roundedToBf16, runOne } from '../support/run.js';

interface Given {
  q: HostTensor;
  k?: HostTensor;
  v?: HostTensor;
  lengths?: HostTensor;
  relH?: HostTensor;
  relW?: HostTensor;
}

function apply(
  given: Given,
  options: Omit<AttentionOptions, 'lengths' | 'relH' | 'relW'>,
  how: RunOptions = {},
): Promise<HostTensor> {
  const inputs = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined));
  return runOne(
    inputs,
    (graph, { q, k, v, lengths, relH, relW }) =>
      attention(graph, q!, k && { k, v: v! }, { ...options, lengths, relH, relW }),
    { ...how, dtypes: { lengths: 'i32', relH: 'f32', relW: 'f32' } },
  );
}

/** Every query to the first `lengths[b]` keys. */
function expected({ q, k, v, lengths }: Given, heads: number): Float32Array {
  const [batch, queries, channels] = q.shape as [number, number, number];
  const keys = k!.shape[1]!;
  const dim = channels / heads;
  const out = new Float32Array(q.data.length);
  const head = ({ data, shape }: HostTensor, b: number, token: number, at: number) => {
    const start = ((shape[0] === 1 ? 0 : b) * shape[1]! + token) * channels + at * dim;
    return data.subarray(start, start + dim);
  };
  for (let b = 0; b < batch; b++) {
    const count = Math.min(lengths?.data[b] ?? keys, keys);
    if (count === 0) continue;
    const all = Array.from({ length: count }, (_, j) => j);
    for (let h = 0; h < heads; h++) {
      const values = all.map((j) => head(v!, b, j, h));
      for (let i = 0; i < queries; i++) {
        const logits = all.map((j) => dot(head(q, b, i, h), head(k!, b, j, h)) / Math.sqrt(dim));
        out.set(attend(logits, values, dim), (b * queries + i) * channels + h * dim);
      }
    }
  }
  return out;
}

const given = (batch: number, queries: number, keys: number, channels: number, sharedKeys = false) => ({
  q: generate({ name: 'q', shape: [batch, queries, channels], scale: 2 }),
  k: generate({ name: 'k', shape: [sharedKeys ? 1 : batch, keys, channels], scale: 2 }),
  v: generate({ name: 'v', shape: [sharedKeys ? 1 : batch, keys, channels], scale: 2 }),
});

describe('attention', async () => {
  const tensors = await HostTensors.load('sam/ops/expected.safetensors');
  const noise = samNoise('sam/ops');

  it.each(samOps('attention'))(
    'Segment Anything, $out',
    async ({ num_heads: heads, tensors: rules, prefix, x, out }) => {
      const named = (rules as TensorRule[]).map(
        (rule) => [rule.name.slice(prefix.length), generate(rule)] as const,
      );
      const [batch, h, w, channels] = x.shape;
      const y = await runOne(
        { x: reshaped(generate(x), [batch, h * w, channels]) },
        (graph, v) => {
          const layer = (name: string, value: typeof v.x) =>
            linear(graph, value!, v[`${name}.weight`]!, { bias: v[`${name}.bias`]! });
          const [relH, relW] = [relPos(graph, v.rel_pos_h!, h, h), relPos(graph, v.rel_pos_w!, w, w)];
          return layer(
            'proj',
            attention(graph, layer('qkv', v.x), undefined, { heads, grids: [[h, w]], relH, relW }),
          );
        },
        { constants: Object.fromEntries(named) },
      );
      expectClose(y.data, tensors.get(out).data, noise[out]!);
    },
  );

  // With keys of zero only the position terms are left; values that are unit vectors show the softmax, 8 keys at a time.
  it.each(samOps('add_decomposed_rel_pos'))('relative positions of Segment Anything, $out', async (each) => {
    const { q_size: queryGrid, k_size: keyGrid, attn, rel_pos_h, rel_pos_w, out } = each;
    const q = generate(each.q);
    const [batch, queries, dim] = q.shape as [number, number, number];
    const keys = keyGrid[0] * keyGrid[1];
    const base = generate(attn).data;
    const terms = tensors.get(out).data.map((logit, i) => logit - base[i]!);
    for (let first = 0; first < keys; first += dim) {
      const zero = host([batch, keys, dim], new Float32Array(batch * keys * dim));
      const unit = host(
        zero.shape,
        zero.data.map((_, i) => Number((Math.floor(i / dim) % keys) - first === i % dim)),
      );
      const tables = { rel_pos_h: generate(rel_pos_h), rel_pos_w: generate(rel_pos_w) };
      const y = await runOne(
        { q, k: zero, v: unit },
        (graph, v) =>
          attention(
            graph,
            v.q!,
            { k: v.k!, v: v.v! },
            {
              heads: 1,
              queryGrid,
              keyGrid,
              relH: relPos(graph, v.rel_pos_h!, queryGrid[0], keyGrid[0]),
              relW: relPos(graph, v.rel_pos_w!, queryGrid[1], keyGrid[1]),
            },
          ),
        { constants: tables },
      );
      const want: number[] = [];
      for (let i = 0; i < batch * queries; i++) {
        const logits = [...terms.subarray(i * keys, (i + 1) * keys)];
        const rows = logits.map((_, j) => Array.from({ length: dim }, (__, c) => Number(j - first === c)));
        want.push(...attend(logits, rows, dim));
      }
      expectClose(y.data, want, { fp64_rel_rms: noise[out]!.fp64_rel_rms });
    }
  });

  const sizes: [batch: number, queries: number, keys: number, heads: number, dim: number][] = [
    [1, 1, 1, 1, 1],
    [2, 7, 5, 2, 16],
    [1, 9, 300, 4, 32],
    [3, 300, 9, 2, 8],
    [1, 65, 129, 3, 64],
    [1, 16, 5000, 1, 16],
    [1, 33, 33, 1, 100],
    [2, 1, 70, 2, 5],
  ];

  it.each(sizes)(
    'batch %i, %i queries, %i keys, %i heads of %i',
    async (batch, queries, keys, heads, dim) => {
      const operands = given(batch, queries, keys, heads * dim);
      expectClose((await apply(operands, { heads })).data, expected(operands, heads), {});
      const rounded = {
        q: roundedToBf16(operands.q),
        k: roundedToBf16(operands.k),
        v: roundedToBf16(operands.v),
      };
      const half = await apply(operands, { heads }, { dtype: 'bf16' });
      expectWithin(half.data, expected(rounded, heads), { relL2: 8e-3 });
    },
  );

  it('shares keys and values with the whole batch', async () => {
    const operands = given(3, 11, 60, 32, true);
    expectClose((await apply(operands, { heads: 2 })).data, expected(operands, 2), {});
  });

  it('counts the first lengths[b] keys only, and gives zeros where there are none', async () => {
    const operands = { ...given(4, 6, 90, 24), lengths: host([4], [90, 1, 0, 37]) };
    const y = await apply(operands, { heads: 3 });
    expectClose(y.data, expected(operands, 3), {});
    expect(item(y, 2).data.every((value) => value === 0)).toBe(true);
    // what lies beyond does not matter, whatever it is
    const spoilt = {
      ...operands,
      k: host(operands.k.shape, operands.k.data),
      v: host(operands.v.shape, operands.v.data),
    };
    for (const beyond of [spoilt.k, spoilt.v]) beyond.data.fill(Number.NaN, (3 * 90 + 37) * 24);
    expect((await apply(spoilt, { heads: 3 })).data).toEqual(y.data);
  });

  it.each<[Grid[], number, number]>([
    [[[5, 7]], 2, 8],
    [
      [
        [6, 9],
        [4, 4],
      ],
      1,
      24,
    ],
    [
      [
        [1, 1],
        [3, 2],
      ],
      3,
      4,
    ],
    [[[18, 16]], 1, 64],
  ])('packed, each of the grids %j on its own, with RoPE', async (grids, heads, dim) => {
    const count = grids.reduce((sum, [h, w]) => sum + h * w, 0);
    const q = generate({ name: 'qkv', shape: [2, count, 3 * heads * dim], scale: 2 });
    const options = { heads, grids, rope: { theta: 10000, scale: 0.5 } };
    expectClose((await apply({ q }, options)).data, naive.gridAttention(q, options), {});
    const plain = { heads, grids };
    expectClose((await apply({ q }, plain)).data, naive.gridAttention(q, plain), {});
    const half = await apply({ q }, options, { dtype: 'bf16' });
    expectWithin(half.data, naive.gridAttention(roundedToBf16(q), options), { relL2: 8e-3 });
  });

  it('packed without grids: all tokens together', async () => {
    const q = generate({ name: 'qkv', shape: [2, 31, 3 * 16], scale: 2 });
    expectClose(
      (await apply({ q }, { heads: 2 })).data,
      naive.gridAttention(q, { heads: 2, grids: [[1, 31]] }),
      {},
    );
  });

  it('packed with relative positions on a grid that is no square', async () => {
    const grid: Grid = [11, 6];
    const q = generate({ name: 'qkv', shape: [2, 66, 3 * 48], scale: 2 });
    const table = (name: string, side: number) => generate({ name, shape: [side, side, 24], scale: 1 });
    const tables = { relH: table('relH', 11), relW: table('relW', 6) };
    const y = await apply({ q, ...tables }, { heads: 2, grids: [grid] });
    expectClose(y.data, naive.gridAttention(q, { heads: 2, grids: [grid], ...tables }), {});
  });

  it('takes a value that begins anywhere in another, in bf16 too', async () => {
    const flat = generate({ name: 'flat', shape: [20 * 48 + 1], scale: 2 });
    const half = await runOne(
      { flat },
      (graph, v) =>
        attention(graph, graph.view(v.flat!, [1, 20, 48], 1), undefined, { heads: 1, grids: [[4, 5]] }),
      { dtype: 'bf16' },
    );
    const q = roundedToBf16(host([1, 20, 48], flat.data.subarray(1)));
    expectWithin(half.data, naive.gridAttention(q, { heads: 1, grids: [[4, 5]] }), { relL2: 8e-3 });
  });

  it('keeps its head where logits are large', async () => {
    const operands = given(1, 20, 700, 16);
    const large = {
      ...operands,
      q: host(
        operands.q.shape,
        operands.q.data.map((value) => value * 100),
      ),
    };
    expectClose((await apply(large, { heads: 1 })).data, expected(large, 1), {});
  });

  it('gives each item of a batch what it gets alone', async () => {
    const operands = given(3, 20, 50, 32);
    const together = await apply(operands, { heads: 2 });
    for (let i = 0; i < 3; i++) {
      const alone = { q: item(operands.q, i), k: item(operands.k, i), v: item(operands.v, i) };
      expect((await apply(alone, { heads: 2 })).data).toEqual(item(together, i).data);
    }
  });

  const shapes = { q: [2, 6, 8], k: [2, 4, 8], v: [2, 4, 8] };
  const square = { relH: [2, 2, 4], relW: [3, 2, 4] };
  it.each<[string, Record<string, number[] | undefined>, Partial<AttentionOptions>, string]>([
    ['keys of another width', { ...shapes, k: [2, 4, 7] }, {}, 'k, v (2 or 1, Lk, 8)'],
    ['keys of another batch', { ...shapes, k: [3, 4, 8], v: [3, 4, 8] }, {}, 'k, v (2 or 1, Lk, 8)'],
    ['other keys than values', { ...shapes, v: [2, 5, 8] }, {}, 'k, v (2 or 1, Lk, 8)'],
    ['lengths of another batch', { ...shapes, lengths: [3] }, {}, 'lengths i32 (2)'],
    ['heads that do not divide', shapes, { heads: 3 }, 'k, v (2 or 1, Lk, 8)'],
    [
      'packed tokens that are not those of the grids',
      { q: [1, 6, 24] },
      { grids: [[2, 2]] },
      'grids of 6 tokens',
    ],
    ['packed channels that heads do not divide', { q: [1, 6, 20] }, {}, '2 heads'],
    ['one table without the other', { ...shapes, relH: [2, 2, 4] }, {}, 'rel_h and rel_w, or neither'],
    ['tables without grids', { ...shapes, ...square }, {}, 'one grid of all queries'],
    [
      'tables of other grids',
      { ...shapes, ...square },
      { queryGrid: [3, 2], keyGrid: [2, 2] },
      'rel_h (3, 2, 4), rel_w (2, 2, 4)',
    ],
  ])('refuses %s', async (_, wrong, options, want) => {
    const operands = Object.fromEntries(
      Object.entries(wrong).map(([name, shape]) => [name, generate({ name, shape: shape! })]),
    ) as HostValues & Given;
    const error = await errorOf(() => apply(operands, { heads: 2, ...options } as AttentionOptions));
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain(want);
    expect(error.message).toContain(`q f32 [${wrong.q!.join(', ')}]`);
  });
});
