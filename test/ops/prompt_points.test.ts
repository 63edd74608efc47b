import { describe, expect, it } from 'vitest';
import { promptPoints } from '../../lib/graph/ops/prompt_points.js';
import { expectClose } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { item } from '../support/layout.js';
import { generate, type HostTensor, HostTensors, samNoise, samOps } from '../support/reference.js';
import { type HostValues, host, runOne } from '../support/run.js';

const tables = {
  gaussian: generate({ name: 'gaussian', shape: [2, 16], scale: 1.7 }),
  embeddings: generate({ name: 'embeddings', shape: [4, 32] }),
  none: generate({ name: 'none', shape: [1, 32] }),
};

const encode = (
  points: HostTensor,
  labels: HostTensor,
  size: [number, number],
  constants: HostValues = tables,
) =>
  runOne(
    { points, labels },
    (graph, v) =>
      promptPoints(
        graph,
        v.points!,
        v.labels!,
        { gaussian: v.gaussian!, embeddings: v.embeddings!, notAPoint: v.none! },
        size,
      ),
    { constants },
  );

/** The definition of one point, in double precision. */
function expected([x, y]: number[], label: number, [h, w]: [number, number]): number[] {
  const { gaussian, embeddings, none } = tables;
  if (label === -1) return [...none.data];
  const [cx, cy] = [(2 * (x! + 0.5)) / w - 1, (2 * (y! + 0.5)) / h - 1];
  const angles = Array.from(
    { length: 16 },
    (_, i) => 2 * Math.PI * (cx * gaussian.data[i]! + cy * gaussian.data[16 + i]!),
  );
  const code = [...angles.map(Math.sin), ...angles.map(Math.cos)];
  return code.map(
    (value, i) => value + ([0, 1, 2, 3].includes(label) ? embeddings.data[label * 32 + i]! : 0),
  );
}

describe('prompt_points', async () => {
  const tensors = await HostTensors.load('sam/ops/expected.safetensors');

  it('codes points as Segment Anything does', async () => {
    const { points, gaussian, image_size_hw, out } = samOps('points_pe')[0]!;
    const given = generate(points);
    // Its function does not add the half pixel; a label of no embedding leaves the bare code.
    const shifted = host(
      given.shape,
      given.data.map((value) => value - 0.5),
    );
    const zero = host([4, 32], new Float32Array(128));
    const y = await encode(shifted, host([3, 5], new Float32Array(15).fill(4)), image_size_hw, {
      gaussian: generate(gaussian),
      embeddings: zero,
      none: host([1, 32], new Float32Array(32)),
    });
    expectClose(y.data, tensors.get(out).data, samNoise('sam/ops')[out]!);
  });

  it('tells labels apart: padding, background, foreground, corners, any other', async () => {
    const labels = [-1, 0, 1, 2, 3, 4, -2, 7];
    const points = generate({ name: 'points', shape: [1, labels.length, 2], offset: 60, scale: 80 });
    const y = await encode(points, host([1, labels.length], labels), [90, 130]);
    const want = labels.flatMap((label, i) =>
      expected([...points.data.subarray(2 * i, 2 * i + 2)], label, [90, 130]),
    );
    expectClose(y.data, want, {});
  });

  it('keeps its precision far outside the picture and on large ones', async () => {
    const points = host([1, 3, 2], [-2000, 5000, 16383.25, 0.5, 8191.5, 8191.5]);
    const y = await encode(points, host([1, 3], [1, 1, 0]), [16384, 16384]);
    const want = [0, 1, 2].flatMap((i) =>
      expected([...points.data.subarray(2 * i, 2 * i + 2)], i === 2 ? 0 : 1, [16384, 16384]),
    );
    expectClose(y.data, want, {});
  });

  it('gives each prompt of a batch what it gets alone', async () => {
    const points = generate({ name: 'points', shape: [4, 3, 2], offset: 50, scale: 50 });
    const labels = host([4, 3], [1, 0, -1, 2, 3, 1, 1, 1, 1, 0, 0, -1]);
    const together = await encode(points, labels, [100, 100]);
    for (let i = 0; i < 4; i++) {
      const alone = await encode(item(points, i), item(labels, i), [100, 100]);
      expect(alone.data).toEqual(item(together, i).data);
    }
  });

  it.each([
    ['points of three coordinates', { points: [1, 2, 3] }],
    ['another number of labels', { labels: [1, 3] }],
    ['embeddings of another width', { embeddings: [4, 16] }],
    ['a padding vector of another width', { none: [1, 16] }],
  ])('refuses %s', async (_, wrong: Record<string, number[]>) => {
    const shapes: Record<string, number[]> = {
      points: [1, 2, 2],
      labels: [1, 2],
      gaussian: [2, 16],
      embeddings: [4, 32],
      none: [1, 32],
      ...wrong,
    };
    const inputs = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, generate({ name, shape })]),
    );
    const { points, labels, ...constants } = inputs as Record<'points' | 'labels', HostTensor>;
    const error = await errorOf(() => encode(points, labels, [64, 64], constants as HostValues));
    expect(error.code).toBe('ERR_SHAPE');
    const [name, shape] = Object.entries(wrong)[0]!;
    expect(error.message).toContain(`${name === 'none' ? 'not_a_point' : name} f32 [${shape.join(', ')}]`);
  });
});
