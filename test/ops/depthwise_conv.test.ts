import { describe, expect, it } from 'vitest';
import { depthwiseConv } from '../../lib/graph/ops/depthwise_conv.js';
import { expectClose, expectRounded } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { item } from '../support/layout.js';
import { generate, type HostTensor } from '../support/reference.js';
import { type RunOptions, roundedToBf16, runOne } from '../support/run.js';

function expected(x: HostTensor, weight: HostTensor): Float64Array {
  const [batch, h, w, channels] = x.shape as [number, number, number, number];
  const k = weight.shape[3]!;
  const half = (k - 1) / 2;
  const out = new Float64Array(x.data.length);
  const at = (b: number, y: number, column: number, c: number) => ((b * h + y) * w + column) * channels + c;
  for (let b = 0; b < batch; b++) {
    for (let y = 0; y < h; y++) {
      for (let column = 0; column < w; column++) {
        for (let c = 0; c < channels; c++) {
          let sum = 0;
          for (let i = 0; i < k; i++) {
            for (let j = 0; j < k; j++) {
              const [row, col] = [y + i - half, column + j - half];
              if (row >= 0 && row < h && col >= 0 && col < w) {
                sum += x.data[at(b, row, col, c)]! * weight.data[(c * k + i) * k + j]!;
              }
            }
          }
          out[at(b, y, column, c)] = sum;
        }
      }
    }
  }
  return out;
}

const given = (shape: number[], k = 3) => ({
  x: generate({ name: 'x', shape }),
  weight: generate({ name: 'weight', shape: [shape.at(-1)!, 1, k, k], scale: 1 / k }),
});

const apply = (x: HostTensor, weight: HostTensor, options: RunOptions = {}) =>
  runOne({ x }, (graph, v) => depthwiseConv(graph, v.x!, v.weight!), { ...options, constants: { weight } });

describe('depthwise_conv', () => {
  it.each([
    [[1, 1, 1, 1], 3],
    [[1, 1, 3, 16], 3],
    [[2, 5, 9, 16], 3],
    [[1, 6, 6, 33], 3],
    [[1, 17, 2, 64], 3],
    [[1, 3, 40, 5], 3],
    [[1, 7, 8, 20], 5],
    [[1, 4, 4, 7], 1],
    [[1, 2, 3, 8], 7],
  ])('x %s, kernel %i', async (shape, k) => {
    const { x, weight } = given(shape, k);
    const y = await apply(x, weight);
    expect(y.shape).toEqual(shape);
    expectClose(y.data, expected(x, weight), {});
    expectRounded((await apply(x, weight, { dtype: 'bf16' })).data, expected(roundedToBf16(x), weight));
  });

  it('gives each item of a batch what it gets alone', async () => {
    const { x, weight } = given([3, 6, 5, 24]);
    const together = await apply(x, weight);
    for (let i = 0; i < 3; i++)
      expect((await apply(item(x, i), weight)).data).toEqual(item(together, i).data);
  });

  it.each([
    ['an even kernel', [4, 1, 2, 2]],
    ['a kernel that is not square', [4, 1, 3, 5]],
    ['kernels that are not one per channel', [4, 4, 3, 3]],
    ['another number of channels', [5, 1, 3, 3]],
  ])('refuses %s', async (_, shape) => {
    const weight = generate({ name: 'weight', shape });
    const { x } = given([1, 4, 4, 4]);
    const error = await errorOf(() =>
      runOne({ x, weight }, (graph, v) =>
        graph.scope('out_conv.0', () => depthwiseConv(graph, v.x!, v.weight!)),
      ),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('out_conv.0: depthwise_conv');
    expect(error.message).toContain(`x f32 [1, 4, 4, 4], weight f32 [${shape.join(', ')}]`);
  });
});
