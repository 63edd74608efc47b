import { describe, expect, it } from 'vitest';
import { expand } from '../../lib/graph/ops/expand.js';
import { errorOf } from '../support/errors.js';
import { generate } from '../support/reference.js';
import { roundedToBf16, runOne } from '../support/run.js';

describe('expand', () => {
  it.each([
    [[1], 4],
    [[1, 5, 96], 3],
    [[1, 3, 1, 7], 2],
    [[1, 6], 1],
  ])('%s to %i', async (shape, batch) => {
    const x = generate({ name: 'x', shape });
    const y = await runOne({ x }, (graph, v) => expand(graph, v.x!, batch));
    expect(y.shape).toEqual([batch, ...shape.slice(1)]);
    expect([...y.data]).toEqual(Array.from({ length: batch }, () => [...x.data]).flat());
    const half = await runOne({ x }, (graph, v) => expand(graph, v.x!, batch), { dtype: 'bf16' });
    expect([...half.data]).toEqual(Array.from({ length: batch }, () => [...roundedToBf16(x).data]).flat());
  });

  it('refuses what already has a batch', async () => {
    const x = generate({ name: 'x', shape: [2, 3] });
    const error = await errorOf(() =>
      runOne({ x }, (graph, v) => graph.scope('tokens', () => expand(graph, v.x!, 4))),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('tokens: expand');
    expect(error.message).toContain('x f32 [2, 3]');
  });
});
