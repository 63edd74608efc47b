import { describe, expect, it } from 'vitest';
import { bilinearResize } from '../../lib/graph/ops/bilinear_resize.js';
import { expectClose, expectRounded } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { channelsFirst, channelsLast, item, permuted, reshaped } from '../support/layout.js';
import { resized } from '../support/naive.js';
import { generate, type HostTensor, HostTensors, opCases, samNoise, samOps } from '../support/reference.js';
import { type RunOptions, roundedToBf16, runOne } from '../support/run.js';

type Size = [number, number];

/** Resizes (B, C, h, w) in both layouts, which must agree, and returns the same layout. */
async function resize(x: HostTensor, size: Size, options?: RunOptions): Promise<HostTensor> {
  const first = await runOne({ x }, (graph, v) => bilinearResize(graph, v.x!, size, false), options);
  const last = await runOne({ x: channelsLast(x) }, (graph, v) => bilinearResize(graph, v.x!, size), options);
  expectClose(channelsFirst(last).data, first.data, {}, 'channels last against channels first');
  return first;
}

function expected(x: HostTensor, size: Size): Float64Array {
  const [h, w] = x.shape.slice(2) as Size;
  const planes = x.data.length / (h * w);
  return Float64Array.from(
    Array.from({ length: planes }, (_, i) => [
      ...resized(x.data.subarray(i * h * w, (i + 1) * h * w), [h, w], size),
    ]).flat(),
  );
}

describe('bilinear_resize', async () => {
  const tensors = await HostTensors.load('ops/bilinear.safetensors');
  const tables = await HostTensors.load('ops/pos_embed.safetensors');
  const samNoises = samNoise('sam/ops');
  const samTensors = await HostTensors.load('sam/ops/expected.safetensors');

  it.each(opCases('bilinear'))('reference $name', async ({ name, params, fp32_vs_fp64 }) => {
    const y = await resize(tensors.get(`${name}/x`), params.size as Size);
    expectClose(y.data, tensors.get(`${name}/out`).data, fp32_vs_fp64.out!);
  });

  it.each(opCases('pos_embed'))(
    'position table of the reference, $name',
    async ({ name, params, fp32_vs_fp64 }) => {
      const table = tables.get(`${name}/pos_embed`);
      const channels = table.shape[2]!;
      const cells = reshaped({ shape: [], data: table.data.subarray(channels) }, [1, 14, 14, channels]);
      const y = await resize(permuted(cells, [0, 3, 1, 2]), params.size as Size);
      expectClose(y.data, tables.get(`${name}/out`).data, fp32_vs_fp64.out!);
    },
  );

  it.each(samOps('bilinear'))('Segment Anything, $out', async ({ x, size, out }) => {
    const y = await resize(generate(x), size);
    expectClose(y.data, samTensors.get(out).data, samNoises[out]!);
  });

  const sizes: [from: Size, to: Size][] = [
    [
      [1, 1],
      [1, 1],
    ],
    [
      [1, 5],
      [3, 17],
    ],
    [
      [7, 3],
      [1, 1],
    ],
    [
      [4, 4],
      [4, 9],
    ],
    [
      [33, 20],
      [14, 14],
    ],
    [
      [9, 9],
      [40, 8],
    ],
  ];

  it.each(sizes)('%s to %s, in f32 and bf16', async (from, to) => {
    const x = generate({ name: 'x', shape: [2, 5, ...from] });
    expectClose((await resize(x, to)).data, expected(x, to), {});
    const half = await runOne({ x }, (graph, v) => bilinearResize(graph, v.x!, to, false), { dtype: 'bf16' });
    expectRounded(half.data, expected(roundedToBf16(x), to));
    const last = await runOne({ x: channelsLast(x) }, (graph, v) => bilinearResize(graph, v.x!, to), {
      dtype: 'bf16',
    });
    expectRounded(channelsFirst(last).data, expected(roundedToBf16(x), to));
  });

  it('gives each item of a batch what it gets alone', async () => {
    const x = generate({ name: 'x', shape: [3, 4, 6, 7] });
    const together = await resize(x, [11, 5]);
    for (let i = 0; i < 3; i++)
      expect((await resize(item(x, i), [11, 5])).data).toEqual(item(together, i).data);
  });

  it.each([
    [
      [4, 4],
      [2, 2],
    ],
    [
      [1, 4, 4, 1],
      [0, 2],
    ],
  ])('refuses x %s to %s', async (shape, size) => {
    const x = generate({ name: 'x', shape });
    const error = await errorOf(() =>
      runOne({ x }, (graph, v) => graph.scope('pos_embed', () => bilinearResize(graph, v.x!, size as Size))),
    );
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('pos_embed: bilinear_resize');
    expect(error.message).toContain(`x f32 [${shape.join(', ')}]`);
  });
});
