import { describe, expect, it } from 'vitest';
import { positionEncoding } from '../../lib/graph/ops/position_encoding.js';
import { expectClose } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { channelsFirst } from '../support/layout.js';
import { generate, HostTensors, samNoise, samOps } from '../support/reference.js';
import { runOne } from '../support/run.js';

describe('position_encoding', async () => {
  const noise = samNoise('sam/ops');
  const tensors = await HostTensors.load('sam/ops/expected.safetensors');

  it.each(samOps('dense_pe'))('Segment Anything, $out', async ({ gaussian, size, out }) => {
    const y = await runOne({ gaussian: generate(gaussian) }, (graph, v) =>
      positionEncoding(graph, v.gaussian!, size),
    );
    expect(channelsFirst(y).shape.slice(1)).toEqual(tensors.get(out).shape);
    expectClose(channelsFirst(y).data, tensors.get(out).data, noise[out]!);
  });

  it('refuses a matrix that is not (2, E/2)', async () => {
    const gaussian = generate({ name: 'gaussian', shape: [3, 16] });
    const error = await errorOf(() =>
      runOne({ gaussian }, (graph, v) =>
        graph.scope('neck', () => positionEncoding(graph, v.gaussian!, [4, 4])),
      ),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('neck: position_encoding');
    expect(error.message).toContain('gaussian f32 [3, 16]');
  });
});
