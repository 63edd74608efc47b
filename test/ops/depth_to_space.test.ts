import { describe, expect, it } from 'vitest';
import { depthToSpace } from '../../lib/graph/ops/depth_to_space.js';
import { errorOf } from '../support/errors.js';
import { permuted, reshaped } from '../support/layout.js';
import { generate } from '../support/reference.js';
import { roundedToBf16, runOne } from '../support/run.js';

describe('depth_to_space', () => {
  it.each([
    [1, 1, 1, 2, 1],
    [1, 3, 5, 2, 1],
    [2, 4, 3, 2, 7],
    [1, 2, 2, 3, 16],
    [3, 5, 1, 1, 4],
  ])('batch %i, %i × %i, block %i, %i channels', async (batch, h, w, block, channels) => {
    const x = generate({ name: 'x', shape: [batch, h, w, block * block * channels] });
    const arranged = (given: typeof x) =>
      reshaped(permuted(reshaped(given, [batch, h, w, block, block, channels]), [0, 1, 3, 2, 4, 5]), [
        batch,
        h * block,
        w * block,
        channels,
      ]);
    expect(await runOne({ x }, (graph, v) => depthToSpace(graph, v.x!, block))).toEqual(arranged(x));
    const half = await runOne({ x }, (graph, v) => depthToSpace(graph, v.x!, block), { dtype: 'bf16' });
    expect(half).toEqual(arranged(roundedToBf16(x)));
  });

  it.each([[[1, 2, 2, 6]], [[2, 2, 8]]])('refuses %s in blocks of 2', async (shape) => {
    const x = generate({ name: 'x', shape });
    const error = await errorOf(() =>
      runOne({ x }, (graph, v) => graph.scope('up', () => depthToSpace(graph, v.x!, 2))),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('up: depth_to_space');
    expect(error.message).toContain(`x f32 [${shape.join(', ')}]`);
  });
});
