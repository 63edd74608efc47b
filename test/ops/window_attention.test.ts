import { describe, expect, it } from 'vitest';
import type { Graph, Value } from '../../lib/graph/graph.js';
import type { Grid } from '../../lib/graph/grid.js';
import { linear } from '../../lib/graph/ops/linear.js';
import {
  type Rope,
  type WindowAttentionOptions,
  windowAttention,
} from '../../lib/graph/ops/window_attention.js';
import { expectClose, expectWithin } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { item, reshaped } from '../support/layout.js';
import { rotate } from '../support/naive.js';
import * as naive from '../support/naive_attention.js';
import { generate, type HostTensor, HostTensors, opCases } from '../support/reference.js';
import { host, type RunOptions, roundedToBf16, runOne } from '../support/run.js';

const ROPE: Rope = { theta: 10000, scale: 0.5 };

type Options = Omit<WindowAttentionOptions, 'pad' | 'relH' | 'relW'>;
interface Tables {
  pad?: HostTensor;
  relH?: HostTensor;
  relW?: HostTensor;
}

function apply(
  qkv: HostTensor,
  options: Options,
  tables: Tables = {},
  how: RunOptions = {},
): Promise<HostTensor> {
  const inputs = Object.fromEntries(
    Object.entries({ qkv, ...tables }).filter(([, value]) => value !== undefined),
  );
  const f32 = { relH: 'f32', relW: 'f32' } as const;
  return runOne(
    inputs,
    (graph, v) => windowAttention(graph, v.qkv!, { ...options, pad: v.pad, relH: v.relH, relW: v.relW }),
    { ...how, dtypes: { ...f32, ...how.dtypes } },
  );
}

const tokens = (grids: readonly Grid[]) => grids.reduce((sum, [h, w]) => sum + h * w, 0);

const packed = (batch: number, grids: readonly Grid[], channels: number): HostTensor =>
  generate({ name: 'qkv', shape: [batch, tokens(grids), 3 * channels], scale: 2 });

const padRow = (channels: number): HostTensor =>
  generate({ name: 'pad', shape: [1, 3 * channels], scale: 2 });

const paddingBefore = (window: number, shift: number) => (window - shift) % window;

describe('window_attention', async () => {
  const tensors = await HostTensors.load('ops/window_attention.safetensors');
  const maps = await HostTensors.load('ops/windows.safetensors');
  const turned = await HostTensors.load('ops/rope.safetensors');

  it.each(opCases('window_attention'))('reference $name', async ({ name, params, weights, fp32_vs_fp64 }) => {
    const { embed_dim, heads, window, shift, batch, hw_shapes: grids } = params;
    const constants = Object.fromEntries(
      weights.map((weight) => [weight, tensors.get(`${name}/w.${weight}`)]),
    );
    const x = reshaped(tensors.get(`${name}/x`), [batch, tokens(grids), embed_dim]);
    const project = (graph: Graph, value: Value, v: Record<string, Value>, layer: string) =>
      linear(graph, value, v[`${layer}.weight`]!, { bias: v[`${layer}.bias`] });
    const y = await runOne(
      { x },
      (graph, v) => {
        const options = {
          heads,
          window,
          grids,
          rope: ROPE,
          before: paddingBefore(window, shift),
          pad: project(graph, v.padding!, v, 'qkv'),
        };
        return project(graph, windowAttention(graph, project(graph, v.x!, v, 'qkv'), options), v, 'proj');
      },
      { constants },
    );
    expectClose(y.data, tensors.get(`${name}/out`).data, fp32_vs_fp64.out!);
  });

  // Without queries every position of a window weighs the same: the mean of the values tells which positions those are.
  it.each(opCases('windows'))(
    'attends to the positions that the reference lists, $name',
    async ({ name, params }) => {
      const { window, shift, batch, hw_shapes: grids } = params;
      const count = tokens(grids);
      const dim = 16;
      const qkv = packed(batch, grids, dim);
      qkv.data.forEach((_, i) => {
        if (i % (3 * dim) < dim) qkv.data[i] = 0;
      });
      const pad = padRow(dim);
      const values = (index: number) =>
        index === batch * count
          ? pad.data.subarray(2 * dim)
          : qkv.data.subarray(index * 3 * dim + 2 * dim, (index + 1) * 3 * dim);
      const indices = maps.get(`${name}/indices`).data;
      const expected = new Float64Array(batch * count * dim);
      for (let start = 0; start < indices.length; start += window * window) {
        const places = [...indices.subarray(start, start + window * window)];
        const mean = Array.from(
          { length: dim },
          (_, c) => places.reduce((sum, at) => sum + values(at)[c]!, 0) / places.length,
        );
        for (const at of places) if (at < batch * count) expected.set(mean, at * dim);
      }
      const y = await apply(qkv, { heads: 1, window, grids, before: paddingBefore(window, shift) }, { pad });
      expectClose(y.data, expected, {});
    },
  );

  // The turn itself is not visible from outside; the definition that the tests below use is checked here.
  it.each(opCases('rope'))('turns as the reference does, $name', ({ name, params }) => {
    const { window, batch, hw_shapes: grids, heads, head_dim: dim } = params;
    const q = turned.get(`${name}/q`).data;
    const all: naive.Place[] = window
      ? naive.windows({ window, grids }).flat()
      : Array.from({ length: q.length / heads / dim / batch }, (_, i) => ({
          token: i,
          row: Math.floor(i / grids[0][1]),
          column: i % grids[0][1],
          region: 0,
        }));
    const places = Array.from({ length: batch }, () => all).flat();
    const actual = places.flatMap(({ row, column }, i) =>
      Array.from({ length: heads }, (_, head) => {
        const at = (i * heads + head) * dim;
        return rotate(q.subarray(at, at + dim), row, column, ROPE);
      }).flat(),
    );
    expectClose(actual, turned.get(`${name}/out`).data, {});
  });

  const shapes: [grids: Grid[], window: number, shift: number, heads: number, dim: number][] = [
    [[[1, 1]], 1, 0, 1, 4],
    [[[1, 1]], 4, 2, 2, 8],
    [[[5, 3]], 7, 0, 1, 12],
    [[[9, 13]], 7, 3, 2, 20],
    [[[16, 16]], 8, 4, 2, 32],
    [[[18, 10]], 14, 0, 1, 80],
    [[[17, 19]], 16, 8, 1, 64],
    [
      [
        [6, 9],
        [4, 4],
        [1, 2],
      ],
      4,
      2,
      3,
      16,
    ],
    [
      [
        [6, 9],
        [5, 3],
      ],
      5,
      0,
      1,
      128,
    ],
  ];

  it.each(shapes)(
    '%j, windows of %i shifted by %i, %i heads of %i',
    async (grids, window, shift, heads, dim) => {
      const qkv = packed(2, grids, heads * dim);
      const pad = padRow(heads * dim);
      const options = { heads, window, grids, rope: ROPE, before: paddingBefore(window, shift) };
      const y = await apply(qkv, options, { pad });
      expect(y.shape).toEqual([2, tokens(grids), heads * dim]);
      expectClose(y.data, naive.windowAttention(qkv, { ...options, pad }), {});
      const half = await apply(qkv, options, { pad }, { dtype: 'bf16' });
      const want = naive.windowAttention(roundedToBf16(qkv), { ...options, pad: roundedToBf16(pad) });
      expectWithin(half.data, want, { relL2: 8e-3 });
    },
  );

  it.each<[Grid[], number, number]>([
    [[[8, 8]], 4, 2],
    [[[7, 10]], 4, 2],
    [[[9, 13]], 7, 3],
    [[[4, 4]], 4, 2],
    [[[3, 2]], 4, 1],
    [[[16, 32]], 16, 8],
    [
      [
        [6, 9],
        [4, 5],
      ],
      4,
      2,
    ],
  ])('cyclic shift as in Swin: %j, windows of %i shifted by %i', async (grids, window, cyclicShift) => {
    const qkv = packed(2, grids, 32);
    const pad = padRow(32);
    const options = { heads: 2, window, grids, rope: ROPE, cyclicShift };
    expectClose(
      (await apply(qkv, options, { pad })).data,
      naive.windowAttention(qkv, { ...options, pad }),
      {},
    );
  });

  it.each<[Grid, number, number]>([
    [[14, 14], 7, 32],
    [[10, 9], 7, 16],
    [[20, 20], 14, 24],
  ])(
    'relative positions as in Segment Anything: %s, windows of %i, heads of %i',
    async (grid, window, dim) => {
      const qkv = packed(2, [grid], 2 * dim);
      const table = (name: string) => generate({ name, shape: [window, window, dim], scale: 1 });
      const tables = { pad: padRow(2 * dim), relH: table('relH'), relW: table('relW') };
      const options = { heads: 2, window, grids: [grid] };
      const y = await apply(qkv, options, tables);
      expectClose(y.data, naive.windowAttention(qkv, { ...options, ...tables }), {});
      const half = await apply(qkv, options, tables, { dtype: 'bf16' });
      const rounded = { ...tables, pad: roundedToBf16(tables.pad) };
      expectWithin(half.data, naive.windowAttention(roundedToBf16(qkv), { ...options, ...rounded }), {
        relL2: 1e-2,
      });
    },
  );

  it('keeps its head where logits are large', async () => {
    const grid: Grid = [8, 8];
    const qkv = packed(1, [grid], 16);
    const large = host(
      qkv.shape,
      qkv.data.map((value) => value * 30),
    );
    const y = await apply(large, { heads: 1, window: 8, grids: [grid] });
    expectClose(y.data, naive.windowAttention(large, { heads: 1, window: 8, grids: [grid] }), {});
  });

  it('takes values that begin anywhere in another, in bf16 too', async () => {
    const channels = 3 * 16;
    const flat = generate({ name: 'flat', shape: [20 * channels + 1], scale: 2 });
    const row = generate({ name: 'row', shape: [channels + 1], scale: 2 });
    const part = ({ data }: HostTensor, shape: number[]) => roundedToBf16(host(shape, data.subarray(1)));
    const options = { heads: 1, window: 3, grids: [[4, 5]] as Grid[] };
    const half = await runOne(
      { flat, row },
      (graph, v) =>
        windowAttention(graph, graph.view(v.flat!, [1, 20, channels], 1), {
          ...options,
          pad: graph.view(v.row!, [1, channels], 1),
        }),
      { dtype: 'bf16' },
    );
    const want = naive.windowAttention(part(flat, [1, 20, channels]), {
      ...options,
      pad: part(row, [1, channels]),
    });
    expectWithin(half.data, want, { relL2: 8e-3 });
  });

  it('gives each item of a batch what it gets alone', async () => {
    const qkv = packed(3, [[9, 7]], 48);
    const pad = padRow(48);
    const options = { heads: 3, window: 4, grids: [[9, 7]] as Grid[], rope: ROPE, before: 2 };
    const together = await apply(qkv, options, { pad });
    for (let i = 0; i < 3; i++) {
      expect((await apply(item(qkv, i), options, { pad })).data).toEqual(item(together, i).data);
    }
  });

  const good = { heads: 2, window: 4, grids: [[4, 4]] as Grid[] };
  it.each<[string, number[], Options, Record<string, number[]>, string]>([
    ['another number of tokens', [1, 15, 24], good, {}, 'qkv (B, 16, 3C)'],
    ['heads that do not divide the channels', [1, 16, 24], { ...good, heads: 3 }, {}, '3 heads'],
    ['a padding row of another width', [1, 16, 24], good, { pad: [1, 12] }, 'pad (1, 24)'],
    [
      'a table of another window',
      [1, 16, 24],
      good,
      { relH: [3, 3, 4], relW: [4, 4, 4] },
      'rel_h, rel_w (4, 4, 4)',
    ],
  ])('refuses %s', async (_, shape, options, tables, want) => {
    const given = Object.fromEntries(
      Object.entries(tables).map(([name, size]) => [name, generate({ name, shape: size })]),
    );
    const error = await errorOf(() => apply(generate({ name: 'qkv', shape }), options, given));
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain(want);
    expect(error.message).toContain(`qkv f32 [${shape.join(', ')}]`);
  });

  it('refuses padding without a padding row', async () => {
    const error = await errorOf(() =>
      apply(packed(1, [[5, 4]], 8), { heads: 1, window: 4, grids: [[5, 4]] }),
    );
    expect(error.code).toBe('ERR_SHAPE');
  });
});
