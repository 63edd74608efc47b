import { describe, expect, it } from 'vitest';
import { im2col, type PatchOptions } from '../../lib/graph/ops/im2col.js';
import { errorOf } from '../support/errors.js';
import { generate, type HostTensor } from '../support/reference.js';
import { roundedToBf16, runOne } from '../support/run.js';

function expected(
  { shape, data }: HostTensor,
  { kernel, stride, padding = 0, channelsLast = true }: PatchOptions,
) {
  const [batch, h, w, channels] = (
    channelsLast ? shape : [shape[0], shape[2], shape[3], shape[1]]
  ) as number[];
  const size = (side: number) => Math.floor((side + 2 * padding - kernel) / stride) + 1;
  const grid = [size(h!), size(w!)];
  const at = (b: number, c: number, y: number, x: number): number => {
    if (y < 0 || y >= h! || x < 0 || x >= w!) return 0;
    return channelsLast
      ? data[((b * h! + y) * w! + x) * channels! + c]!
      : data[((b * channels! + c) * h! + y) * w! + x]!;
  };
  const out: number[] = [];
  const kernels = Array.from({ length: kernel }, (_, i) => i);
  const all = Array.from({ length: channels! }, (_, c) => c);
  for (let b = 0; b < batch!; b++) {
    for (let i = 0; i < grid[0]!; i++) {
      for (let j = 0; j < grid[1]!; j++) {
        const value = (c: number, ky: number, kx: number) =>
          at(b, c, i * stride + ky - padding, j * stride + kx - padding);
        if (channelsLast)
          for (const ky of kernels) for (const kx of kernels) for (const c of all) out.push(value(c, ky, kx));
        else
          for (const c of all) for (const ky of kernels) for (const kx of kernels) out.push(value(c, ky, kx));
      }
    }
  }
  return { shape: [batch!, ...grid, kernel * kernel * channels!], data: Float32Array.from(out) };
}

const CASES: [shape: number[], options: PatchOptions][] = [
  [[1, 3, 32, 48], { kernel: 16, stride: 16, channelsLast: false }],
  [[2, 3, 20, 19], { kernel: 16, stride: 16, channelsLast: false }],
  [[1, 1, 8, 6], { kernel: 2, stride: 2, channelsLast: false }],
  [[1, 8, 6, 1], { kernel: 2, stride: 2 }],
  [[2, 7, 6, 5], { kernel: 3, stride: 1, padding: 1 }],
  [[1, 5, 4, 16], { kernel: 3, stride: 2, padding: 1 }],
  [[1, 1, 1, 3], { kernel: 3, stride: 1, padding: 1 }],
  [[1, 4, 5, 2], { kernel: 4, stride: 1 }],
  [[2, 3, 7, 5], { kernel: 3, stride: 1, padding: 2, channelsLast: false }],
];

describe('im2col', () => {
  it.each(CASES)('x %s, %j', async (shape, options) => {
    const x = generate({ name: 'x', shape });
    expect(await runOne({ x }, (graph, v) => im2col(graph, v.x!, options))).toEqual(expected(x, options));
    const half = await runOne({ x }, (graph, v) => im2col(graph, v.x!, options), { dtype: 'bf16' });
    expect(half).toEqual(expected(roundedToBf16(x), options));
    const cast = await runOne({ x }, (graph, v) => im2col(graph, v.x!, { ...options, dtype: 'bf16' }));
    expect(cast).toEqual(expected(roundedToBf16(x), options));
  });

  it.each([
    [[1, 3, 15, 16], { kernel: 16, stride: 16, channelsLast: false }],
    [[3, 16, 16], { kernel: 16, stride: 16, channelsLast: false }],
    [[1, 4, 2, 8], { kernel: 3, stride: 1 }],
  ])('refuses %s for %j', async (shape, options) => {
    const x = generate({ name: 'x', shape });
    const error = await errorOf(() =>
      runOne({ x }, (graph, v) => graph.scope('proj', () => im2col(graph, v.x!, options))),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('proj: im2col');
    expect(error.message).toContain(`x f32 [${shape.join(', ')}]`);
  });
});
