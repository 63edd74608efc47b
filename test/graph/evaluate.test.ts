import { describe, expect, it } from 'vitest';
import { evaluate } from '../../lib/graph/evaluate.js';
import { Graph } from '../../lib/graph/graph.js';
import { activation } from '../../lib/graph/ops/activation.js';
import { add } from '../../lib/graph/ops/add.js';
import { attention } from '../../lib/graph/ops/attention.js';
import { bilinearResize } from '../../lib/graph/ops/bilinear_resize.js';
import { cast } from '../../lib/graph/ops/cast.js';
import { concat } from '../../lib/graph/ops/concat.js';
import { depthToSpace } from '../../lib/graph/ops/depth_to_space.js';
import { depthwiseConv } from '../../lib/graph/ops/depthwise_conv.js';
import { expand } from '../../lib/graph/ops/expand.js';
import { im2col } from '../../lib/graph/ops/im2col.js';
import { layerNorm } from '../../lib/graph/ops/layer_norm.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { pad } from '../../lib/graph/ops/pad.js';
import { permute } from '../../lib/graph/ops/permute.js';
import { relPos } from '../../lib/graph/ops/rel_pos.js';
import { slice } from '../../lib/graph/ops/slice.js';
import { windowAttention } from '../../lib/graph/ops/window_attention.js';
import { Device } from '../../lib/runtime/device.js';

describe('evaluate', () => {
  const device = Device.open('cpu');

  it('runs a few ops on tensors', async () => {
    const x = device.tensor([2, 3], 'f32', new Float32Array([1, 2, 3, 4, 5, 6]));
    const w = device.tensor([2, 3], 'f32', new Float32Array([1, 0, 0, 0, 1, -1]));
    const { y, z } = await evaluate(
      { x },
      (graph, v) => {
        const product = linear(graph, v.x!, v.w!);
        return { y: product, z: activation(graph, add(graph, product, product), 'relu') };
      },
      { constants: { w } },
    );
    expect([...(await y!.data())]).toEqual([1, -1, 4, -1]);
    expect([...(await z!.data())]).toEqual([2, 0, 8, 0]);
  });

  it('refuses what is no value of the graph', async () => {
    const argumentError = expect.objectContaining({ name: 'HrsamError', code: 'ERR_ARGUMENT' });
    const x = device.tensor([2], 'u8', Buffer.from([1, 2])); // a Buffer is a Uint8Array
    const other = new Graph().input('x', [2], 'u8');
    for (const build of [() => ({ y: other }), () => ({ y: undefined }), async () => ({}), () => ({ y: x })])
      await expect(evaluate({ x }, build as never)).rejects.toEqual(argumentError);
    const graph = new Graph();
    const own = graph.input('x', [2, 2]);
    expect(() => activation(graph, other, 'relu')).toThrow(argumentError);
    expect(() => activation(graph, own, 'none of them' as never)).toThrow(argumentError);
    expect(() => cast(graph, own, 'zz' as never)).toThrow(argumentError);
  });

  it('refuses a second meaning of a name, and more than six dimensions', () => {
    const graph = new Graph();
    graph.input('x', [2, 3]);
    expect(graph.input('x', [2, 3]).shape).toEqual([2, 3]);
    const shapeError = expect.objectContaining({ name: 'HrsamError', code: 'ERR_SHAPE' });
    expect(() => graph.input('x', [3, 2])).toThrow(shapeError);
    expect(() => graph.input('x', [2, 3], 'bf16')).toThrow(shapeError);
    graph.constant('w', [4]);
    expect(() => graph.constant('w', [4], 'bf16')).toThrow(shapeError);
    expect(() => graph.input('y', [1, 1, 1, 1, 1, 1, 1])).toThrow(shapeError);
  });

  it('refuses sizes, places and settings that are not whole numbers in range', () => {
    const shapeError = expect.objectContaining({ name: 'HrsamError', code: 'ERR_SHAPE' });
    const graph = new Graph();
    const x = graph.input('x', [1, 2, 2, 4]);
    const table = graph.input('table', [3, 4]);
    for (const build of [
      () => graph.input('y', [-1]),
      () => graph.input('y', 4 as never),
      () => expand(graph, x, -1),
      () => relPos(graph, table, 0.5, 1),
      () => depthToSpace(graph, x, 0.5),
      () => concat(graph, [table, table], 0.5),
      () => slice(graph, table, 0.5, 0, 1),
      () => im2col(graph, x, { kernel: 0.5, stride: 1 }),
      () => im2col(graph, x, { kernel: 1, stride: 1e300 }),
      () => graph.view(x, [1e6], 0),
      () => graph.view(x, [2], 0.5),
      () => graph.view(x, [2], 15),
      () => graph.view(x, [2], -1),
      () => graph.reshape(x, [3, 5]),
      () => graph.reshape(x, [-1.5, 6]),
      () => graph.reshape(x, [-2, -8]),
    ])
      expect(build).toThrow(shapeError);
    expect(() => slice(graph, table, 1, null as never, 3)).toThrow(
      expect.objectContaining({ name: 'HrsamError', code: 'ERR_ARGUMENT' }),
    );
    // Half rows whose number is whole.
    expect(() => slice(graph, graph.input('z', [2, 3]), 1, 0.5, 1.5)).toThrow(shapeError);
    expect(() => pad(graph, table, 0, 0.5, 5)).toThrow(shapeError);
    expect(() => depthwiseConv(graph, x, graph.input('w', [4, 1, 3, 3, 2]))).toThrow(shapeError);
  });

  it('refuses settings and operands of the wrong kind', () => {
    const graph = new Graph();
    const x = graph.input('x', [1, 2, 2, 4]);
    const qkv = graph.input('qkv', [1, 4, 12]);
    const foreign = new Graph().input('x', [1, 2, 2, 4]);
    const wrong = (value: unknown) => value as never;
    const windows = (grids: unknown) =>
      windowAttention(graph, qkv, { heads: 1, window: 2, grids: wrong(grids) });
    for (const build of [
      () => bilinearResize(graph, x, wrong(2)),
      () => bilinearResize(graph, x, wrong([2, true])),
      () => bilinearResize(graph, x, [2, 2], wrong(1.5)),
      () => linear(graph, x, graph.input('w', [4, 4]), { transposed: wrong(1e300) }),
      () => layerNorm(graph, x, graph.input('c', [4]), graph.input('c', [4]), { eps: wrong([]) }),
      () => permute(graph, x, wrong(3)),
      () => windows(5),
      () => windows([2, 2]),
      () => windows([[2, 1, 1, 2]]),
      () => attention(graph, qkv, undefined, { heads: 1, grids: wrong([[1], [4]]) }),
      () => concat(graph, wrong(x), 0),
      ...[undefined, null, {}, 5, foreign].flatMap((value) => [
        () => cast(graph, wrong(value), 'bf16'),
        () => slice(graph, wrong(value), 0, 0, 1),
        () => expand(graph, wrong(value), 2),
        () => im2col(graph, wrong(value), { kernel: 1, stride: 1 }),
        () => concat(graph, [wrong(value)], 0),
        () => concat(graph, [x, wrong(value), x], 0),
        () => graph.reshape(wrong(value), [16]),
        () => graph.rows(wrong(value), 0, 1),
        () => graph.view(wrong(value), [1], 0),
      ]),
    ])
      expect(build).toThrow(expect.objectContaining({ name: 'HrsamError', code: 'ERR_ARGUMENT' }));
  });
});
