import { describe, it } from 'vitest';
import type { Graph, Value } from '../../lib/graph/graph.js';
import { type AttentionOptions, attention } from '../../lib/graph/ops/attention.js';
import { slice } from '../../lib/graph/ops/slice.js';
import { expectWithin } from '../support/compare.js';
import { host } from '../support/run.js';
import { backward, checkGradients, values } from './support/check.js';

const CURVED = { step: 1 / 16, relL2: 1e-4 };

type Options = Omit<AttentionOptions, 'lengths' | 'relH' | 'relW'>;
const apply = (options: Options) => (graph: Graph, v: Record<string, Value>) =>
  attention(graph, v.q!, v.k && { k: v.k, v: v.v! }, {
    ...options,
    lengths: v.lengths,
    relH: v.relH,
    relW: v.relW,
  });

const unpacked = (batch: number, queries: number, keys: number, channels: number, keyBatch = batch) => ({
  q: values('q', [batch, queries, channels], 2),
  k: values('k', [keyBatch, keys, channels], 2),
  v: values('v', [keyBatch, keys, channels], 2),
});

describe('gradients of attention', () => {
  it('of queries, keys and values', async () => {
    await checkGradients(unpacked(2, 3, 5, 6), apply({ heads: 2 }), CURVED);
  });

  it('of keys and values that all items share', async () => {
    await checkGradients(unpacked(3, 2, 4, 6, 1), apply({ heads: 2 }), CURVED);
  });

  it('of packed grids that turn with their place', async () => {
    // biome-ignore format: one grid a pair
    const options: Options = { heads: 2, grids: [[2, 3], [1, 2]], rope: { theta: 100, scale: 0.5 } };
    await checkGradients({ q: values('q', [1, 8, 24], 2) }, apply(options), CURVED);
  });

  it('of relative positions, packed', async () => {
    const inputs = {
      q: values('q', [2, 6, 24], 2),
      relH: values('relH', [2, 2, 4]),
      relW: values('relW', [3, 3, 4]),
    };
    await checkGradients(inputs, apply({ heads: 2, grids: [[2, 3]] }), CURVED);
  });

  it('of relative positions between two grids', async () => {
    const inputs = {
      ...unpacked(1, 6, 8, 4),
      relH: values('relH', [3, 2, 4]),
      relW: values('relW', [2, 4, 4]),
    };
    await checkGradients(inputs, apply({ heads: 1, queryGrid: [3, 2], keyGrid: [2, 4] }), CURVED);
  });

  it('ignores keys past the length, as if they were cut off', async () => {
    const { q, k, v } = unpacked(2, 5, 700, 32);
    const inputs = { q, k, v, lengths: host([2], [600, 600]) };
    const wrt = ['q', 'k', 'v'];
    const masked = await backward(inputs, apply({ heads: 2 }), { wrt, dtypes: { lengths: 'i32' } });
    const cut = await backward({ q, k, v }, (graph, given) => {
      const [first, second] = [given.k!, given.v!].map((value) => slice(graph, value, 1, 0, 600));
      return attention(graph, given.q!, { k: first!, v: second! }, { heads: 2 });
    });
    for (const name of wrt)
      expectWithin(masked.gradients[name]!.data, cut.gradients[name]!.data, { relL2: 1e-6 }, name);
  });

  it('in bf16, from arithmetic in f32', async () => {
    const inputs = unpacked(2, 40, 300, 32);
    const exact = await backward(inputs, apply({ heads: 2 }));
    const dtypes = { q: 'bf16', k: 'bf16', v: 'bf16' } as const;
    const rounded = await backward(inputs, apply({ heads: 2 }), { dtypes });
    for (const name of Object.keys(inputs))
      expectWithin(rounded.gradients[name]!.data, exact.gradients[name]!.data, { relL2: 2e-2 }, name);
  });
});
