import { describe, expect, it } from 'vitest';
import { totalFlops } from '../../lib/graph/cost.js';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { type Activation, activation } from '../../lib/graph/ops/activation.js';
import { type AttentionOptions, attention } from '../../lib/graph/ops/attention.js';
import { layerNorm } from '../../lib/graph/ops/layer_norm.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { windowAttention } from '../../lib/graph/ops/window_attention.js';

function flops(build: (graph: Graph, input: (...shape: number[]) => Value) => Value): number {
  const graph = new Graph();
  let inputs = 0;
  graph.output(
    'y',
    build(graph, (...shape) => graph.input(`x${inputs++}`, shape)),
  );
  return totalFlops(graph);
}

describe('operations that are counted', () => {
  it.each(['gelu', 'relu', 'silu'] as const)('a fused activation is one of its own: %s', (name) => {
    const ops: ((graph: Graph, input: (...shape: number[]) => Value, act: Activation) => Value)[] = [
      (graph, input, act) => linear(graph, input(5, 16), input(24, 16), { activation: act }),
      (graph, input, act) => layerNorm(graph, input(5, 24), input(24), input(24), { activation: act }),
    ];
    for (const op of ops) {
      const plain = flops((graph, input) => op(graph, input, 'none'));
      const apart = flops((graph, input) => activation(graph, op(graph, input, 'none'), name));
      expect(apart).toBeGreaterThan(plain);
      expect(flops((graph, input) => op(graph, input, name))).toBe(apart);
    }
  });

  // 3 pictures of 6 × 10 tokens, 2 heads of 8 channels.
  const [batch, tokens, width] = [3, 60, 16];

  it('relative positions in windows: two products of a query and a row for each line of keys', () => {
    const count = (relative: boolean) =>
      flops((graph, input) =>
        windowAttention(graph, input(batch, tokens, 3 * width), {
          heads: 2,
          window: 4,
          grids: [[6, 10]],
          ...(relative && { relH: input(4, 4, 8), relW: input(4, 4, 8) }),
        }),
      );
    expect(count(false)).toBe(4 * batch * tokens * width * 16);
    expect(count(true) - count(false)).toBe(2 * batch * tokens * width * (4 + 4));
  });

  it('relative positions of all tokens, packed or not', () => {
    const packed = (options: (input: (...shape: number[]) => Value) => Partial<AttentionOptions>) =>
      flops((graph, input) =>
        attention(graph, input(batch, tokens, 3 * width), undefined, {
          heads: 2,
          grids: [[6, 10]],
          ...options(input),
        }),
      );
    const relative = packed((input) => ({ relH: input(6, 6, 8), relW: input(10, 10, 8) }));
    expect(packed(() => ({}))).toBe(4 * batch * tokens * tokens * width);
    expect(relative - packed(() => ({}))).toBe(2 * batch * tokens * width * (6 + 10));
    const apart = flops((graph, input) => {
      const [q, k, v] = [input(batch, tokens, width), input(batch, 15, width), input(batch, 15, width)];
      const [relH, relW] = [input(6, 3, 8), input(10, 5, 8)];
      const grids = { queryGrid: [6, 10], keyGrid: [3, 5] } as const;
      return attention(graph, q, { k, v }, { heads: 2, relH, relW, ...grids });
    });
    expect(apart).toBe(batch * tokens * width * (4 * 15 + 2 * (3 + 5)));
  });
});
