import { describe, expect, it } from 'vitest';
import { Graph } from '../../lib/graph/graph.js';
import { type Activation, activation } from '../../lib/graph/ops/activation.js';
import { add } from '../../lib/graph/ops/add.js';
import { bilinearResize } from '../../lib/graph/ops/bilinear_resize.js';
import { cast } from '../../lib/graph/ops/cast.js';
import { concat } from '../../lib/graph/ops/concat.js';
import { depthToSpace } from '../../lib/graph/ops/depth_to_space.js';
import { depthwiseConv } from '../../lib/graph/ops/depthwise_conv.js';
import { diceLoss } from '../../lib/graph/ops/dice_loss.js';
import { expand } from '../../lib/graph/ops/expand.js';
import { im2col } from '../../lib/graph/ops/im2col.js';
import { layerNorm } from '../../lib/graph/ops/layer_norm.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { matmul } from '../../lib/graph/ops/matmul.js';
import { mul } from '../../lib/graph/ops/mul.js';
import { pad } from '../../lib/graph/ops/pad.js';
import { permute } from '../../lib/graph/ops/permute.js';
import { promptPoints } from '../../lib/graph/ops/prompt_points.js';
import { relPos } from '../../lib/graph/ops/rel_pos.js';
import { scaleSamples } from '../../lib/graph/ops/scale_samples.js';
import { slice } from '../../lib/graph/ops/slice.js';
import { squaredError } from '../../lib/graph/ops/squared_error.js';
import { sumRows } from '../../lib/graph/ops/sum_rows.js';
import { expectWithin } from '../support/compare.js';
import { host } from '../support/run.js';
import { backward, checkGradients, values } from './support/check.js';

// Steps for ops that are not polynomials: the differences' error is that of the fourth order, the values' that of f32.
const CURVED = { step: 1 / 16, relL2: 1e-4 };

describe('activation', () => {
  it.each<Activation>(['gelu', 'silu', 'sigmoid', 'none'])('%s', async (name) => {
    await checkGradients({ x: values('x', [3, 17], 3) }, (graph, v) => activation(graph, v.x!, name), CURVED);
  });

  it('relu, away from its corner', async () => {
    const { shape, data } = values('x', [40], 2);
    const x = host(
      shape,
      data.map((value) => value + Math.sign(value)),
    );
    await checkGradients({ x }, (graph, v) => activation(graph, v.x!, 'relu'));
  });
});

describe('add and mul', () => {
  it.each([
    ['one shape', [2, 3, 4]],
    ['fewer axes', [3, 4]],
    ['leading ones', [1, 3, 4]],
    ['one number per channel', [1, 1, 4]],
    ['ones in between', [2, 1, 4]],
    ['a last one', [2, 3, 1]],
    ['outer ones', [1, 3, 1]],
    ['a single number', [1]],
  ])('add, b of %s', async (_, shape) => {
    await checkGradients({ a: values('a', [2, 3, 4]), b: values('b', shape) }, (graph, v) =>
      add(graph, v.a!, v.b!),
    );
  });

  it('add a value to itself', async () => {
    await checkGradients({ x: values('x', [3, 5]) }, (graph, v) => add(graph, v.x!, v.x!));
  });

  it('mul', async () => {
    await checkGradients({ a: values('a', [2, 7]), b: values('b', [2, 7]) }, (graph, v) =>
      mul(graph, v.a!, v.b!),
    );
  });

  it('scale_samples', async () => {
    const inputs = { x: values('x', [3, 4, 5]), scale: host([3], [1.25, 0, -2]) };
    await checkGradients(inputs, (graph, v) => scaleSamples(graph, v.x!, v.scale!), { wrt: ['x'] });
  });

  it('mul a value by itself', async () => {
    await checkGradients({ x: values('x', [3, 5]) }, (graph, v) => mul(graph, v.x!, v.x!));
  });
});

describe('linear', () => {
  const x = values('x', [2, 3, 5]);
  const weight = values('weight', [7, 5]);
  const bias = values('bias', [7]);

  it('weight and bias', async () => {
    await checkGradients({ x, weight, bias }, (graph, v) =>
      linear(graph, v.x!, v.weight!, { bias: v.bias! }),
    );
  });

  it.each([
    ['of the same rows', [2, 3, 7]],
    ['repeated over the batch', [1, 3, 7]],
    ['repeated over all rows', [1, 7]],
  ])('residual %s', async (_, shape) => {
    await checkGradients({ x, weight, residual: values('residual', shape) }, (graph, v) =>
      linear(graph, v.x!, v.weight!, { residual: v.residual! }),
    );
  });

  it.each([[[1, 3, 7]], [[6, 7]], [[2, 7]], [[7]]])('activation before a residual of %j', async (shape) => {
    await checkGradients(
      { x, weight, bias, residual: values('residual', shape) },
      (graph, v) =>
        linear(graph, v.x!, v.weight!, { bias: v.bias!, activation: 'gelu', residual: v.residual! }),
      CURVED,
    );
  });

  it('activation before a residual of another type, which is the result’s', () => {
    for (const differentiable of [false, true]) {
      const graph = new Graph({ differentiable });
      const residual = graph.input('residual', [1, 3, 7]);
      const y = linear(graph, graph.input('x', x.shape, 'bf16'), graph.input('weight', [7, 5]), {
        activation: 'gelu',
        residual,
      });
      expect(y).toMatchObject({ shape: [2, 3, 7], dtype: 'f32' });
    }
  });

  it('rows of a weight', async () => {
    await checkGradients({ x, weight, bias }, (graph, v) =>
      linear(graph, v.x!, graph.rows(v.weight!, 2, 6), { bias: graph.rows(v.bias!, 2, 6) }),
    );
  });
});

describe('layer_norm', () => {
  const x = values('x', [2, 3, 9], 2, 0.5);
  const weight = values('weight', [9], 0.5, 1);
  const bias = values('bias', [9]);

  it('argument, weight and bias', async () => {
    await checkGradients(
      { x, weight, bias },
      (graph, v) => layerNorm(graph, v.x!, v.weight!, v.bias!),
      CURVED,
    );
  });

  it('activation and gate', async () => {
    const gate = values('gate', [2, 3, 9]);
    await checkGradients(
      { x, weight, bias, gate },
      (graph, v) =>
        layerNorm(graph, v.x!, v.weight!, v.bias!, { eps: 1e-2, activation: 'gelu', gate: v.gate! }),
      CURVED,
    );
  });
});

describe('matmul', () => {
  it.each([1, 2])('b of batch %i', async (batch) => {
    await checkGradients({ a: values('a', [2, 3, 4]), b: values('b', [batch, 5, 4]) }, (graph, v) =>
      matmul(graph, v.a!, v.b!),
    );
  });
});

describe('shapes', () => {
  const x = values('x', [2, 3, 4]);

  it('concat along each axis', async () => {
    for (const axis of [0, 1, 2]) {
      const other = values(
        'other',
        [0, 1, 2].map((i) => (i === axis ? 2 : x.shape[i]!)),
      );
      await checkGradients({ x, other }, (graph, v) => concat(graph, [v.x!, v.other!, v.x!], axis));
    }
  });

  it('slice along each axis', async () => {
    for (const axis of [0, 1, 2]) await checkGradients({ x }, (graph, v) => slice(graph, v.x!, axis, 1, 2));
  });

  it('pad along each axis', async () => {
    for (const axis of [0, 1, 2]) await checkGradients({ x }, (graph, v) => pad(graph, v.x!, axis, 1, 6));
  });

  it('rows and other shapes of what they show', async () => {
    await checkGradients({ x }, (graph, v) => {
      const rows = graph.rows(v.x!, 1, 2);
      return add(
        graph,
        graph.reshape(v.x!, [4, 6]),
        graph.reshape(graph.rows(graph.reshape(rows, [12]), 3, 9), [6]),
      );
    });
  });

  it('permute', async () => {
    await checkGradients({ x }, (graph, v) => permute(graph, v.x!, [2, 0, 1]));
  });

  it('expand', async () => {
    await checkGradients({ x: values('x', [1, 3, 4]) }, (graph, v) => expand(graph, v.x!, 5));
  });

  it('sum_rows', async () => {
    await checkGradients({ x: values('x', [6, 5]) }, (graph, v) => sumRows(graph, v.x!));
  });

  it('depth_to_space', async () => {
    await checkGradients({ x: values('x', [2, 2, 3, 8]) }, (graph, v) => depthToSpace(graph, v.x!, 2));
  });

  it('cast to bf16 and back: the rounding counts as none', async () => {
    const { gradients } = await backward({ x }, (graph, v) => cast(graph, cast(graph, v.x!, 'bf16'), 'f32'));
    expectWithin(gradients.x!.data, values('seed', x.shape).data, { relL2: 4e-3 });
  });
});

describe('pictures', () => {
  it.each([true, false])('bilinear_resize, channels last: %s', async (last) => {
    for (const size of [
      [5, 3],
      [2, 7],
      [4, 4],
    ] as const)
      await checkGradients({ x: values('x', last ? [2, 3, 4, 2] : [2, 2, 3, 4]) }, (graph, v) =>
        bilinearResize(graph, v.x!, size, last),
      );
  });

  it.each([true, false])('im2col, channels last: %s', async (channelsLast) => {
    for (const [kernel, stride, padding] of [
      [2, 2, 0],
      [3, 1, 1],
      [3, 2, 1],
    ] as const)
      await checkGradients({ x: values('x', channelsLast ? [2, 4, 5, 2] : [2, 2, 4, 5]) }, (graph, v) =>
        im2col(graph, v.x!, { kernel, stride, padding, channelsLast }),
      );
  });

  it.each([1, 3, 5])('depthwise_conv of %i × that', async (kernel) => {
    await checkGradients(
      { x: values('x', [2, 3, 4, 3]), weight: values('weight', [3, 1, kernel, kernel]) },
      (graph, v) => depthwiseConv(graph, v.x!, v.weight!),
    );
  });
});

describe('tables', () => {
  it('prompt_points', async () => {
    const inputs = {
      points: values('points', [2, 4, 2], 30, 40),
      labels: host([2, 4], [0, 1, 2, 3, -1, 1, 1, 4]),
      gaussian: values('gaussian', [2, 3]),
      embeddings: values('embeddings', [4, 6]),
      notAPoint: values('notAPoint', [1, 6]),
    };
    await checkGradients(
      inputs,
      (graph, v) => {
        const tables = { gaussian: v.gaussian!, embeddings: v.embeddings!, notAPoint: v.notAPoint! };
        return promptPoints(graph, v.points!, v.labels!, tables, [100, 80]);
      },
      { wrt: ['embeddings', 'notAPoint'] },
    );
  });

  it.each([
    [7, 4, 4],
    [5, 4, 4],
    [9, 4, 2],
    [3, 2, 5],
  ])('rel_pos, %i rows for %i queries and %i keys', async (length, queries, keys) => {
    await checkGradients({ table: values('table', [length, 3]) }, (graph, v) =>
      relPos(graph, v.table!, queries, keys),
    );
  });
});

describe('dice_loss', () => {
  it('against labels, some of which do not count', async () => {
    const labels = host(
      [2, 3, 5],
      Array.from({ length: 30 }, (_, i) => [0, 1, 1, 0, 255, 0, 1][i % 7]!),
    );
    await checkGradients(
      { logits: values('logits', [2, 3, 5], 3), labels },
      (graph, v) => diceLoss(graph, v.logits!, v.labels!),
      { ...CURVED, wrt: ['logits'] },
    );
  });
});

describe('squared_error', () => {
  it('of every sample', async () => {
    await checkGradients(
      { x: values('x', [3, 2, 5]), target: values('target', [3, 2, 5]) },
      (graph, v) => squaredError(graph, v.x!, v.target!),
      { wrt: ['x'] },
    );
  });
});
