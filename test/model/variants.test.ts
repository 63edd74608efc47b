import { describe, expect, it } from 'vitest';
import { Graph } from '../../lib/graph/graph.js';
import type { Grid } from '../../lib/graph/grid.js';
import { block } from '../../lib/model/block.js';
import { hrsamEncoder } from '../../lib/model/hrsam_encoder.js';
import { type AttentionKind, type HrsamConfig, validateConfig } from '../../lib/weights/config.js';
import { expectedTensors } from '../../lib/weights/expected.js';
import { toInternalName } from '../../lib/weights/names.js';
import { expectClose } from '../support/compare.js';
import { encode, hrsamModel } from '../support/models.js';
import { ACTIVATION, product } from '../support/naive.js';
import * as naive from '../support/naive_attention.js';
import { generate, type HostTensor } from '../support/reference.js';
import { device, type HostValues, host, runModel, runOne } from '../support/run.js';

const C = 24;
const HEADS = 2;
const rope = { theta: 10000, scale: 0.5 };

const weights: HostValues = Object.fromEntries(
  (
    [
      ['norm1.weight', [C], 1, 0.2],
      ['norm1.bias', [C], 0, 0.1],
      ['attn.padding', [1, C], 0, 0.5],
      ['attn.qkv.weight', [3 * C, C], 0, 0.5],
      ['attn.qkv.bias', [3 * C], 0, 0.1],
      ['attn.proj.weight', [C, C], 0, 0.35],
      ['attn.proj.bias', [C], 0, 0.1],
      ['norm2.weight', [C], 1, 0.2],
      ['norm2.bias', [C], 0, 0.1],
      ['mlp.fc1.weight', [2 * C, C], 0, 0.35],
      ['mlp.fc1.bias', [2 * C], 0, 0.1],
      ['mlp.fc2.weight', [C, 2 * C], 0, 0.25],
      ['mlp.fc2.bias', [C], 0, 0.1],
    ] as const
  ).map(([name, shape, offset, scale]) => [
    `b.${name}`,
    generate({ name, shape: [...shape], offset, scale }),
  ]),
);

const w = (name: string): Float32Array => weights[`b.${name}`]!.data;

function norm(x: Float32Array, name: string): Float32Array {
  return x.map((value, i) => {
    const row = x.subarray(i - (i % C), i - (i % C) + C);
    const mean = row.reduce((sum, each) => sum + each, 0) / C;
    const variance = row.reduce((sum, each) => sum + (each - mean) ** 2, 0) / C;
    return (
      ((value - mean) / Math.sqrt(variance + 1e-5)) * w(`${name}.weight`)[i % C]! + w(`${name}.bias`)[i % C]!
    );
  });
}

const linear = (x: Float32Array, name: string): Float32Array => {
  const bias = w(`${name}.bias`);
  const inner = w(`${name}.weight`).length / bias.length;
  return Float32Array.from(
    product(x, w(`${name}.weight`), inner),
    (value, i) => value + bias[i % bias.length]!,
  );
};

/** The block by its definition. */
function expected(x: HostTensor, kind: AttentionKind, window: number, grids: readonly Grid[]): Float32Array {
  const qkv = host([...x.shape.slice(0, 2), 3 * C], linear(norm(x.data, 'norm1'), 'attn.qkv'));
  const pad = host([1, 3 * C], linear(w('attn.padding'), 'attn.qkv'));
  const half = Math.floor(window / 2);
  const windowed = {
    heads: HEADS,
    window,
    grids,
    rope,
    pad,
    before: kind === 'shifted' ? (window - half) % window : 0,
    cyclicShift: kind === 'swin' ? half : 0,
  };
  const attended =
    kind === 'global'
      ? naive.gridAttention(qkv, { heads: HEADS, grids, rope })
      : naive.windowAttention(qkv, windowed);
  const y = linear(attended, 'attn.proj').map((value, i) => value + x.data[i]!);
  const hidden = linear(norm(y, 'norm2'), 'mlp.fc1').map(ACTIVATION.gelu);
  return linear(hidden, 'mlp.fc2').map((value, i) => value + y[i]!);
}

describe.each<AttentionKind>(['plain', 'shifted', 'swin', 'global'])('a block with %s attention', (kind) => {
  it.each<[window: number, grids: Grid[]]>([
    [4, [[8, 8]]],
    [4, [[7, 10]]],
    [5, [[11, 3]]],
    [
      4,
      [
        [6, 9],
        [4, 4],
      ],
    ],
    [8, [[3, 2]]],
    [4, [[1, 1]]],
  ])('keeps its definition: windows of %i, grids %j', async (window, grids) => {
    const count = grids.reduce((sum, [h, width]) => sum + h * width, 0);
    const x = generate({ name: 'x', shape: [2, count, C], scale: 2 });
    const options = { kind, heads: HEADS, window, mlpRatio: 2, rope, grids, compute: 'f32' as const };
    const y = await runOne({ x }, (graph, v) => block(graph, 'b', v.x!, options), { constants: weights });
    expectClose(y.data, expected(x, kind, window, grids), {});
  });
});

describe('encoders of other attention', () => {
  const model = hrsamModel('tiny-hrsampp');
  const config = model.config as HrsamConfig;

  it.each<AttentionKind>(['swin', 'global'])(
    '%s: a whole HRSAM++ runs, and each image of a batch stays itself',
    async (kind) => {
      const encoder = { ...config.encoder, attention: config.encoder.attention.map(() => kind) };
      const image = generate({ name: 'image', shape: [2, 3, 80, 144], scale: 2 });
      const run = (given: HostTensor) =>
        runModel({ image: given }, model.weights, (graph, v) => ({
          embedding: hrsamEncoder(graph, v.image!, encoder, 'f32'),
        }));
      const { embedding } = await run(image);
      expect(embedding!.shape).toEqual([2, 5, 9, 64]);
      for (let i = 0; i < 2; i++) {
        const size = image.data.length / 2;
        const alone = await run({ shape: [1, 3, 80, 144], data: image.data.slice(i * size, (i + 1) * size) });
        expectClose(
          alone.embedding!.data,
          embedding!.data.subarray(i * 5 * 9 * 64, (i + 1) * 5 * 9 * 64),
          {},
        );
      }
    },
  );
});

describe('encoders without a cycle scan', () => {
  const config = hrsamModel('tiny-hrsampp').config as HrsamConfig;

  it.each([
    ['one scale', []],
    ['two scales', config.encoder.downsampleSizes],
  ])('have neither its tensors nor its work: %s', (_, downsampleSizes) => {
    const build = (cycles: number) => {
      const encoder = { ...config.encoder, cycles, downsampleSizes };
      const graph = new Graph({ dropPath: true });
      graph.output('embedding', hrsamEncoder(graph, graph.input('image', [1, 3, 64, 64]), encoder, 'f32'));
      const variant = downsampleSizes.length > 0 ? 'hrsam++' : 'hrsam';
      const tensors = expectedTensors(validateConfig({ ...config, variant, encoder }), ['encoder']);
      return { graph, tensors: tensors.filter(({ optional }) => !optional).map(({ name }) => name) };
    };
    const [without, with3] = [build(0), build(3)];
    const scans = ({ graph }: typeof without) =>
      graph.nodes.filter(({ op }) => op.name === 'cycle_scan').length;
    const stages = config.encoder.stageEnds.length;
    expect([scans(without), scans(with3)]).toEqual([0, stages * (downsampleSizes.length > 0 ? 2 : 1)]);
    expect(without.tensors).toEqual(with3.tensors.filter((name) => !name.includes('mamba')));
    // What the graph reads is what a file must have.
    const read = new Set([...without.graph.constants.keys()].map(toInternalName));
    for (const name of without.tensors.map(toInternalName)) expect(read).toContain(name);
    expect(without.graph.inputs.get('branch_scales')!.shape[0]).toBe(2 * config.encoder.depth);
  });
});

describe('cycle scans', () => {
  const config = hrsamModel('tiny-hrsampp').config as HrsamConfig;

  it.each([
    ['f32', false],
    ['bf16', true],
  ] as const)('take fast powers where the model rounds what comes of them: %s', (compute, fast) => {
    const graph = new Graph();
    graph.output(
      'embedding',
      hrsamEncoder(graph, graph.input('image', [1, 3, 64, 64]), config.encoder, compute),
    );
    const scans = graph.nodes.filter(({ op }) => op.name === 'cycle_scan');
    expect(scans.length).toBeGreaterThan(0);
    for (const { attributes } of scans) expect(attributes.fast).toBe(fast);
  });
});

describe('sizes', () => {
  it.each([
    ['tiny-hrsam', 16, 16],
    ['tiny-hrsam', 16, 400],
    ['tiny-hrsam', 304, 16],
    ['tiny-hrsam-w16', 272, 48],
    ['tiny-hrsampp', 16, 32],
    ['tiny-hrsampp', 208, 64],
    ['tiny-hrsampp-rect', 16, 16],
  ])('%s takes %i × %i', async (name, height, width) => {
    const image = generate({ name: 'image', shape: [1, 3, height, width], scale: 2 });
    for (const compute of ['f32', 'bf16'] as const) {
      const { embedding } = await encode(hrsamModel(name), image, { compute });
      expect(embedding.shape.slice(1, 3)).toEqual([height / 16, width / 16]);
      expect(embedding.data.every(Number.isFinite)).toBe(true);
      // the last normalisation leaves every token's channels with a deviation of about one
      const rms = Math.sqrt(
        embedding.data.reduce((sum, value) => sum + value * value, 0) / embedding.data.length,
      );
      expect(rms).toBeGreaterThan(0.5);
      expect(rms).toBeLessThan(2);
    }
  });
});

describe('threads', () => {
  it.runIf(device.kind === 'cpu')('do not change a bit', async () => {
    const image = generate({ name: 'image', shape: [1, 3, 144, 208], scale: 2 });
    const before = device.info().threads;
    for (const compute of ['f32', 'bf16'] as const) {
      const results: Float32Array[] = [];
      for (const threads of [1, 2, 5]) {
        await device.setThreads(threads);
        results.push((await encode(hrsamModel('tiny-hrsampp'), image, { compute })).embedding.data);
      }
      expect(results[1]).toEqual(results[0]);
      expect(results[2]).toEqual(results[0]);
    }
    await device.setThreads(before);
  });
});
