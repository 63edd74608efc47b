import { describe, expect, it } from 'vitest';
import { evaluate, program } from '../../lib/graph/evaluate.js';
import { adamw } from '../../lib/graph/ops/adamw.js';
import { type MuonMatrix, muon } from '../../lib/graph/ops/muon.js';
import { isLayerMatrix, uniformGroups } from '../../lib/train/groups.js';
import { ParameterLayout } from '../../lib/train/layout.js';
import { divideForMuon, MOMENTS, updatePrograms } from '../../lib/train/optimizer.js';
import { device } from '../support/run.js';

const random = (length: number, seed: number) =>
  Float32Array.from({ length }, (_, i) => Math.sin(12.9898 * (i + 1) ** 1.3 + 78.233 * seed));

type Rows = number[][];
const turned = (x: Rows): Rows => x[0]!.map((_, j) => x.map((row) => row[j]!));
const product = (a: Rows, b: Rows): Rows => {
  const columns = turned(b);
  return a.map((row) => columns.map((column) => row.reduce((sum, v, k) => sum + v * column[k]!, 0)));
};
const blend = (a: number, x: Rows, b: number, y: Rows): Rows =>
  x.map((row, i) => row.map((v, j) => a * v + b * y[i]![j]!));

type Rounding = (x: number) => number;
const exact: Rounding = (x) => x;
const toBf16: Rounding = (x) => {
  const view = new DataView(new ArrayBuffer(4));
  view.setFloat32(0, x);
  const bits = view.getUint32(0);
  view.setUint32(0, ((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000) >>> 0);
  return view.getFloat32(0);
};

/** The definition, in double precision but for what is rounded between products. */
function orthogonal(moments: Rows, round: Rounding): Rows {
  if (moments.length > moments[0]!.length) return turned(orthogonal(turned(moments), round));
  const rounded = (x: Rows) => x.map((row) => row.map(round));
  const norm = Math.hypot(...moments.flat()) + 1e-7;
  const one = moments.map((_, i) => moments.map((__, j) => Number(i === j)));
  let x = rounded(moments.map((row) => row.map((v) => v / norm)));
  for (let i = 0; i < 5; i++) {
    const gram = rounded(product(x, turned(x)));
    const even = blend(-4.775, gram, 2.0315, product(gram, gram));
    x = rounded(product(rounded(blend(3.4445, one, 1, even)), x));
  }
  return x;
}

const STEP = [0.01, 0.1, 0.001, 2, 0.75];

async function run(
  size: number,
  matrices: readonly MuonMatrix[],
  initial: Float32Array,
  compute?: 'f32' | 'bf16',
) {
  const state = device.tensor([4, size], 'f32', initial);
  const step = device.tensor([5], 'f32', new Float32Array(STEP));
  const compiled = await program(device, { state, step }, (graph, v) => ({
    state: muon(graph, v.state!, v.step!, matrices, compute),
  }));
  const apart = (await compiled.run({ state, step })).state!;
  await compiled.run({ state, step }, { into: { state }, inPlace: true });
  expect(await state.data()).toEqual(await apart.data());
  return (await state.data()) as Float32Array;
}

function expected(
  size: number,
  matrices: readonly MuonMatrix[],
  initial: Float32Array,
  round: Rounding = exact,
): Float32Array {
  const out = initial.slice();
  for (const { offset, rows, columns, rate, decay } of matrices) {
    const moments = Array.from({ length: rows }, (_, r) =>
      Array.from(initial.subarray(size + offset + r * columns, size + offset + (r + 1) * columns)),
    );
    const direction = orthogonal(moments, round).flat();
    direction.forEach((d, i) => {
      const p = initial[offset + i]!;
      const change = -STEP[0]! * rate * (0.2 * Math.sqrt(Math.max(rows, columns)) * d + decay * p);
      out[offset + i] = p + change;
      out[3 * size + offset + i]! += (1 - STEP[4]!) * change;
    });
  }
  return out;
}

describe('muon', () => {
  it.each([
    ['square', [{ offset: 0, rows: 16, columns: 16, rate: 1, decay: 0 }], 256],
    ['wide, with decay', [{ offset: 3, rows: 5, columns: 70, rate: 0.5, decay: 0.1 }], 400],
    ['tall', [{ offset: 0, rows: 130, columns: 12, rate: 1, decay: 0.05 }], 1600],
    ['of several tiles', [{ offset: 0, rows: 210, columns: 130, rate: 1, decay: 0 }], 27300],
    [
      'several of two shapes by turns',
      [0, 1, 2, 3, 4].map((i) => ({
        offset: 70 * i + 1,
        rows: i % 2 === 0 ? 5 : 14,
        columns: i % 2 === 0 ? 14 : 5,
        rate: 1 - i / 8,
        decay: i / 10,
      })),
      360,
    ],
    ['a row', [{ offset: 1, rows: 1, columns: 9, rate: 1, decay: 0 }], 12],
    [
      'several, with others between',
      [
        { offset: 2, rows: 3, columns: 4, rate: 1, decay: 0 },
        { offset: 14, rows: 8, columns: 2, rate: 0.9, decay: 1 },
        { offset: 31, rows: 6, columns: 6, rate: 1, decay: 0 },
      ],
      70,
    ],
  ])('follows its definition: %s', async (_, matrices, size) => {
    const initial = random(4 * size, 1);
    const [actual, wanted] = [await run(size, matrices, initial), expected(size, matrices, initial)];
    // Steps are of 0.002·√side: small singular values are multiplied by up to 3.4445⁵, and so is what rounding left.
    const error = actual.reduce((most, x, i) => Math.max(most, Math.abs(x - wanted[i]!)), 0);
    expect(error).toBeLessThan(2e-6);
  });

  const ROUNDED: [string, MuonMatrix[]][] = [
    ['square', [{ offset: 0, rows: 32, columns: 32, rate: 1, decay: 0 }]],
    ['wide, with decay', [{ offset: 3, rows: 32, columns: 96, rate: 0.5, decay: 0.1 }]],
    ['tall', [{ offset: 1, rows: 64, columns: 32, rate: 1, decay: 0.05 }]],
    [
      'several',
      [0, 1, 2].map((i) => ({ offset: 2100 * i + 1, rows: 32, columns: 64, rate: 1, decay: i / 20 })),
    ],
    ['of several tiles', [{ offset: 0, rows: 256, columns: 160, rate: 1, decay: 0 }]],
  ];
  it.each(ROUNDED)('in bf16 rounds between products and nowhere else: %s', async (_, matrices) => {
    const { offset, rows, columns } = matrices.at(-1)!;
    const size = offset + rows * columns + 1;
    const initial = random(4 * size, 3);
    const actual = await run(size, matrices, initial, 'bf16');
    const off = (other: Float32Array) =>
      Math.sqrt(actual.reduce((sum, x, i) => sum + (x - other[i]!) ** 2, 0));
    const [bf16, f32] = [toBf16, exact].map((round) => off(expected(size, matrices, initial, round)));
    // Sums that differ in their last bits are seldom rounded to different numbers, but where that happens early, what
    // follows is: of many sums some do.
    expect(bf16).toBeLessThan((rows > 64 ? 0.9 : 0.6) * f32!);
    expect(f32).toBeLessThan(0.02 * Math.hypot(...initial.subarray(0, 4096)));
  });

  it('computes what is no multiple of 32 in f32', async () => {
    const matrices = [
      { offset: 0, rows: 64, columns: 33, rate: 1, decay: 0 },
      { offset: 2112, rows: 16, columns: 64, rate: 1, decay: 0 },
    ];
    const initial = random(4 * 3136, 4);
    expect(await run(3136, matrices, initial, 'bf16')).toEqual(await run(3136, matrices, initial));
  });

  it('leaves a matrix without moments to its decay', async () => {
    const initial = random(4 * 12, 2).fill(0, 18, 24);
    const matrices = [0, 6].map((offset) => ({ offset, rows: 2, columns: 3, rate: 1, decay: 0.5 }));
    const [actual, wanted] = [await run(12, matrices, initial), expected(12, matrices, initial)];
    for (const i of [0, 1, 2, 3, 4, 5])
      expect(actual[6 + i]).toBeCloseTo(initial[6 + i]! * (1 - 0.01 / 2), 6);
    for (const [i, x] of actual.entries()) expect(x).toBeCloseTo(wanted[i]!, 5);
  });

  it.each([1e-20, 1e-44])(
    'leaves a matrix where it is whose moments are about to vanish: %f',
    async (moment) => {
      const initial = random(4 * 1024, 5).map((x, i) => (i >> 10 === 1 ? x * moment : x));
      const matrices = [{ offset: 0, rows: 32, columns: 32, rate: 1, decay: 0 }];
      for (const compute of ['f32', 'bf16'] as const)
        expect(await run(1024, matrices, initial, compute)).toEqual(initial);
    },
  );

  it.each([
    ['beyond the end', [{ offset: 1, rows: 2, columns: 3, rate: 1, decay: 0 }]],
    [
      'over one another',
      [
        { offset: 0, rows: 2, columns: 2, rate: 1, decay: 0 },
        { offset: 3, rows: 1, columns: 2, rate: 1, decay: 0 },
      ],
    ],
    ['before the beginning', [{ offset: -1, rows: 2, columns: 2, rate: 1, decay: 0 }]],
  ])('refuses matrices %s', async (_, matrices) => {
    await expect(run(6, matrices, random(24, 1))).rejects.toMatchObject({ code: 'ERR_SHAPE' });
  });
});

describe('updatePrograms', () => {
  it.each(['f32', 'bf16'] as const)('give what AdamW and then Muon give, in %s', async (compute) => {
    const parameters = [
      { name: 'backbone.blocks.0.attn.proj.weight', shape: [64, 32] },
      { name: 'backbone.blocks.0.attn.proj.bias', shape: [64] },
    ];
    const layout = new ParameterLayout(parameters);
    const groups = uniformGroups(parameters, 0.1);
    const divided = divideForMuon(layout, groups);
    const initial = random(4 * layout.size, 6).map((x, i) => (Math.floor(i / layout.size) === 2 ? x * x : x));
    const given = {
      state: device.tensor(layout.stateShape, 'f32', initial),
      gradient: device.tensor([layout.size], 'f32', random(layout.size, 7)),
      step: device.tensor([5], 'f32', new Float32Array(STEP)),
    };
    const { state } = await evaluate(given, (graph, v) => {
      const moved = adamw(graph, v.state, v.gradient, v.step, divided.groups, MOMENTS.muon);
      return { state: muon(graph, moved, v.step, divided.matrices, compute) };
    });
    const options = { optimizer: 'muon', groups, adamw: MOMENTS.muon, compute } as const;
    for (const update of await updatePrograms(device, layout, options))
      await update.run(given, { into: { state: given.state }, inPlace: true });
    expect(await given.state.data()).toEqual(await state.data());
    expect(await state.data()).not.toEqual(initial);
  });
});

describe('divideForMuon', () => {
  it('takes the matrices of linear layers and leaves everything else to AdamW', () => {
    const parameters = [
      { name: 'backbone.blocks.0.attn.qkv.weight', shape: [6, 2] },
      { name: 'backbone.blocks.0.attn.qkv.bias', shape: [6] },
      { name: 'decode_head.mask_tokens.weight', shape: [4, 2] },
      { name: 'decode_head.iou_token.weight', shape: [1, 2] },
      { name: 'neck.point_embeds.0.weight', shape: [1, 2] },
      { name: 'neck.no_mask_embed.weight', shape: [1, 2] },
      { name: 'backbone.ss_mamba_blocks.0.As_log', shape: [2, 4] },
      { name: 'backbone.patch_embed.proj.weight', shape: [2, 3, 1, 1] },
      { name: 'decode_head.transformer.layers.0.cross_attn_image_to_token.q_proj.weight', shape: [2, 2] },
    ];
    const { groups, matrices } = divideForMuon(
      new ParameterLayout(parameters),
      uniformGroups(parameters, 0.1),
    );
    expect(parameters.filter(isLayerMatrix).map(({ name }) => name)).toEqual([
      parameters[0]!.name,
      parameters[8]!.name,
    ]);
    expect(matrices).toEqual([
      { offset: 0, rows: 6, columns: 2, rate: 1, decay: 0.1 },
      { offset: 46, rows: 2, columns: 2, rate: 1, decay: 0.1 },
    ]);
    expect(groups.map(({ rate, decay }) => [rate, decay])).toEqual(
      parameters.map((parameter) => (isLayerMatrix(parameter) ? [0, 0] : [1, 0.1])),
    );
  });
});
