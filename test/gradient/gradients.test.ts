import { describe, expect, it } from 'vitest';
import { gradients } from '../../lib/graph/gradient.js';
import { Graph, type Value } from '../../lib/graph/graph.js';
import { activation } from '../../lib/graph/ops/activation.js';
import { add } from '../../lib/graph/ops/add.js';
import { attention } from '../../lib/graph/ops/attention.js';
import { concat } from '../../lib/graph/ops/concat.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { maskThreshold } from '../../lib/graph/ops/mask_threshold.js';
import { matmul } from '../../lib/graph/ops/matmul.js';
import { mul } from '../../lib/graph/ops/mul.js';
import { pad } from '../../lib/graph/ops/pad.js';
import { expectWithin } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { type BuildOne, backward, checkGradients, values } from './support/check.js';

describe('gradients', () => {
  it('adds up what comes from all uses of a value', async () => {
    await checkGradients({ x: values('x', [3, 4]), weight: values('weight', [4, 4]) }, (graph, v) => {
      const once = linear(graph, v.x!, v.weight!);
      const twice = linear(graph, once, v.weight!, { residual: v.x! });
      return mul(graph, twice, add(graph, once, v.x!));
    });
  });

  it('leaves out what the result does not depend on', async () => {
    const { gradients: found } = await backward({ x: values('x', [3]), y: values('y', [3]) }, (graph, v) =>
      activation(graph, v.x!, 'silu'),
    );
    expect(Object.keys(found)).toEqual(['x']);
  });

  it('leaves out what has no elements', async () => {
    const empty = values('empty', [2, 0]);
    const x = values('x', [2, 3]);
    const found = async (build: BuildOne) => Object.keys((await backward({ x, empty }, build)).gradients);
    const apart = (graph: Graph, value: Value) => graph.reshape(value, [1, ...value.shape]);
    expect(await found((graph, v) => concat(graph, [v.empty!, v.x!, v.empty!], 1))).toEqual(['x']);
    expect(await found((graph, v) => pad(graph, v.empty!, 1, 2, 4))).toEqual([]);
    const rows = (graph: Graph, v: Record<string, Value>) => graph.reshape(v.empty!, [1, 0, 3]);
    expect(await found((graph, v) => matmul(graph, apart(graph, v.x!), rows(graph, v)))).toEqual([]);
    expect(
      await found((graph, v) =>
        attention(graph, rows(graph, v), { k: apart(graph, v.x!), v: apart(graph, v.x!) }, { heads: 1 }),
      ),
    ).toEqual([]);
  });

  it('adds nothing to the graph for operands nobody asks for', () => {
    const graph = new Graph({ differentiable: true });
    const [x, w] = [graph.input('x', [2, 3]), graph.input('w', [4, 3])];
    const y = linear(graph, x, w);
    const before = graph.nodes.length;
    gradients(graph, new Map([[y, graph.input('seed', [2, 4])]]), [w]);
    expect(graph.nodes.slice(before).map(({ op }) => op.name)).toEqual(['linear_weight_gradient']);
  });

  it('starts from several values', () => {
    const graph = new Graph({ differentiable: true });
    const x = graph.input('x', [3]);
    const [a, b] = [activation(graph, x, 'gelu'), activation(graph, x, 'silu')];
    const seed = graph.input('seed', [3]);
    const [found] = gradients(graph, new Map([a, b].map((value) => [value, seed])), [x]);
    expect(found!.source).toMatchObject({ kind: 'node', node: { op: { name: 'add' } } });
  });

  it('gives a seed back where it is asked for the value itself', () => {
    const graph = new Graph();
    const x = graph.input('x', [3]);
    const seed = graph.input('seed', [3]);
    expect(gradients(graph, new Map([[x, seed]]), [x])).toEqual([seed]);
  });

  it('refuses ops without a gradient, and only on the path', async () => {
    const graph = new Graph();
    const logits = graph.input('logits', [1, 1, 4, 4]);
    const mask = graph.scope('decode_head', () =>
      maskThreshold(graph, logits, { input: [16, 16], crop: [16, 16], original: [16, 16], threshold: 0 }),
    );
    const seeds = new Map([[mask, graph.input('seed', mask.shape, 'u8')]]);
    const error = await errorOf(() => gradients(graph, seeds, [logits]));
    expect(error.code).toBe('ERR_INTERNAL');
    expect(error.message).toMatch(/decode_head.*mask_threshold/);
    expect(gradients(graph, seeds, [graph.input('other', [1])])).toEqual([undefined]);
  });

  it('refuses a seed of another shape', async () => {
    const graph = new Graph();
    const x = graph.input('x', [3]);
    const error = await errorOf(() => gradients(graph, new Map([[x, graph.input('seed', [4])]]), [x]));
    expect(error.code).toBe('ERR_INTERNAL');
  });

  it('keeps the type of each value in mixed precision, close to f32', async () => {
    const inputs = { x: values('x', [20, 24]), weight: values('weight', [16, 24]) };
    const build =
      (type: 'f32' | 'bf16') => (graph: Graph, v: Parameters<Parameters<typeof backward>[1]>[1]) => {
        const hidden = activation(graph, v.x!, 'none', type);
        return linear(graph, hidden, v.weight!, { activation: 'gelu', dtype: 'f32' });
      };
    const full = await backward(inputs, build('f32'));
    const half = await backward(inputs, build('bf16'));
    for (const name of ['x', 'weight'])
      expectWithin(half.gradients[name]!.data, full.gradients[name]!.data, { relL2: 1.5e-2 }, name);
  });
});
