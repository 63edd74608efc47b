import { describe, expect, it } from 'vitest';
import type { Graph, Value } from '../../lib/graph/graph.js';
import { type Grid, gridTokens } from '../../lib/graph/grid.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { type WindowAttentionOptions, windowAttention } from '../../lib/graph/ops/window_attention.js';
import { expectClose, expectWithin } from '../support/compare.js';
import { reshaped } from '../support/layout.js';
import type { HostTensor } from '../support/reference.js';
import { differentiate } from './support/backward.js';
import { backward, checkGradients, values } from './support/check.js';
import { describeGradients, expectGradient } from './support/reference.js';

const ROPE = { theta: 10000, scale: 0.5 };
const CURVED = { step: 1 / 16, relL2: 1e-4 };

type Options = Omit<WindowAttentionOptions, 'pad' | 'relH' | 'relW'>;
const apply = (options: Options) => (graph: Graph, v: Record<string, Value>) =>
  windowAttention(graph, v.qkv!, { ...options, pad: v.pad, relH: v.relH, relW: v.relW });

const packed = (batch: number, grids: readonly Grid[], channels: number): HostTensor =>
  values('qkv', [batch, gridTokens(grids), 3 * channels], 2);

describe('gradients of window attention', () => {
  const pad = values('pad', [1, 24], 2);
  const table = (name: string) => values(name, [3, 3, 4]);

  it.each<[string, Options]>([
    ['whole windows', { heads: 2, window: 2, grids: [[4, 2]] }],
    ['padding', { heads: 2, window: 3, grids: [[4, 5]] }],
    ['padding on all sides', { heads: 2, window: 3, before: 2, grids: [[3, 4]] }],
    ['rotation', { heads: 2, window: 3, before: 1, grids: [[2, 3]], rope: ROPE }],
    // biome-ignore format: one case a line
    ['two scales', { heads: 2, window: 2, before: 1, grids: [[2, 3], [1, 2]], rope: ROPE }],
    ['a cyclic shift', { heads: 2, window: 2, cyclicShift: 1, grids: [[3, 4]] }],
  ])('%s', async (_, options) => {
    await checkGradients({ qkv: packed(1, options.grids, 8), pad }, apply(options), CURVED);
  });

  it('relative positions', async () => {
    const inputs = { qkv: packed(2, [[4, 2]], 8), pad, relH: table('relH'), relW: table('relW') };
    await checkGradients(inputs, apply({ heads: 2, window: 3, grids: [[4, 2]] }), CURVED);
  });

  it('is zero for a row that pads nothing', async () => {
    const options: Options = { heads: 2, window: 2, grids: [[4, 4]], rope: ROPE };
    const { gradients } = await backward({ qkv: packed(1, options.grids, 8), pad }, apply(options));
    expect(gradients.pad!.shape).toEqual([1, 24]);
    expect(gradients.pad!.data.every((value) => value === 0)).toBe(true);
  });

  it('has the type of qkv, from arithmetic in f32', async () => {
    const options: Options = { heads: 2, window: 4, before: 1, grids: [[6, 7]], rope: ROPE };
    const inputs = { qkv: packed(2, options.grids, 32), pad: values('pad', [1, 96], 2) };
    const dtypes = { qkv: 'bf16', pad: 'bf16' } as const;
    const { gradients: exact } = await backward(inputs, apply(options));
    const build = (graph: Graph, v: Record<string, Value>) =>
      windowAttention(graph, v.qkv!, { ...options, pad: v.pad });
    const { gradients: rounded } = await backward(inputs, build, { dtypes });
    for (const name of ['qkv', 'pad'])
      expectWithin(rounded[name]!.data, exact[name]!.data, { relL2: 2e-2 }, name);
  });
});

describeGradients('window_attention', (cases, tensors) => {
  it.each(cases)('$name', async (each) => {
    const { embed_dim, heads, window, shift, batch, hw_shapes: grids } = each.params;
    const get = (name: string) => tensors.get(`${each.name}/${name}`);
    const shape = [batch, gridTokens(grids), embed_dim];
    const weights = Object.fromEntries(each.weights.map((name) => [name, get(`w.${name}`)]));
    const { outputs, gradients } = await differentiate(
      { x: reshaped(get('x'), shape) },
      (graph, { x }) => {
        const weight = (name: string) => graph.constant(name, weights[name]!.shape);
        const project = (value: Value, layer: string) =>
          linear(graph, value, weight(`${layer}.weight`), { bias: weight(`${layer}.bias`) });
        const padding = graph.reshape(weight('padding'), [1, embed_dim]);
        const options = { heads, window, grids, rope: ROPE, before: (window - shift) % window };
        const attended = windowAttention(graph, project(x!, 'qkv'), {
          ...options,
          pad: project(padding, 'qkv'),
        });
        return { y: project(attended, 'proj') };
      },
      { weights, seeds: { y: reshaped(get('dout'), shape) } },
    );
    expectClose(outputs.y!.data, get('out').data, each.fp32_vs_fp64.out!, 'out');
    expectGradient(each, tensors, 'x', gradients.x);
    for (const name of each.weights) expectGradient(each, tensors, `w.${name}`, gradients[name]);
  });
});
