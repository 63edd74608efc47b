import { describe, expect, it } from 'vitest';
import { type MaskThresholdOptions, maskThreshold } from '../../lib/graph/ops/mask_threshold.js';
import { errorOf } from '../support/errors.js';
import { item, strided } from '../support/layout.js';
import { resized } from '../support/naive.js';
import {
  generate,
  type HostTensor,
  HostTensors,
  readJson,
  samNoise,
  type TensorRule,
} from '../support/reference.js';
import { host, runOne } from '../support/run.js';

type Size = [number, number];

interface Postprocessing {
  low_res: TensorRule;
  img_size: number;
  input_size: Size;
  original_size: Size;
  out: string;
  stride: number;
  area: number[][];
  pixels_with_other_sign_in_float64: number;
}

const apply = (logits: HostTensor, options: MaskThresholdOptions) =>
  runOne({ logits }, (graph, v) => maskThreshold(graph, v.logits!, options));

/** Full-size logits by definition: enlarge, crop, resize. */
function expected(
  plane: Float32Array,
  [h, w]: Size,
  { input, crop, original }: MaskThresholdOptions,
): Float64Array {
  const whole = resized(plane, [h, w], [...input]);
  const part = Float64Array.from(
    { length: crop[0] * crop[1] },
    (_, i) => whole[Math.floor(i / crop[1]) * input[1] + (i % crop[1])]!,
  );
  return resized(part, [...crop], [...original]);
}

describe('mask_threshold', async () => {
  const cases: Postprocessing[] = readJson('sam/postprocess/case.json').cases;
  const noise = samNoise('sam/postprocess');
  const tensors = await HostTensors.load('sam/postprocess/expected.safetensors');

  it.each(cases)('Segment Anything, $out: to $original_size', async (each) => {
    const {
      low_res,
      img_size,
      input_size,
      original_size,
      out,
      stride,
      area,
      pixels_with_other_sign_in_float64,
    } = each;
    const input: Size = [img_size, img_size];
    const y = await apply(generate(low_res), {
      input,
      crop: input_size,
      original: original_size,
      threshold: 0,
    });
    expect(y.shape).toEqual([...low_res.shape.slice(0, 2), ...original_size]);
    // A pixel may differ only where its logit is as close to 0 as float32 arithmetic is to exact.
    const logits = tensors.get(out).data;
    const sampled = strided(y, stride).data;
    const wrong = [...sampled].filter(
      (set, i) => set !== Number(logits[i]! > 0) && Math.abs(logits[i]!) > noise[out]!.atol!,
    );
    expect(wrong).toEqual([]);
    const planes = area.flat();
    const size = y.data.length / planes.length;
    planes.forEach((count, i) => {
      const mine = y.data.subarray(i * size, (i + 1) * size).reduce((sum, set) => sum + set, 0);
      expect(Math.abs(mine - count), `area of mask ${i}`).toBeLessThanOrEqual(
        2 + pixels_with_other_sign_in_float64,
      );
    });
  });

  it.each<[shape: number[], options: MaskThresholdOptions]>([
    [[1, 1, 4, 4], { input: [16, 16], crop: [16, 16], original: [16, 16], threshold: 0 }],
    [[2, 3, 9, 13], { input: [36, 52], crop: [36, 40], original: [70, 81], threshold: 0.7 }],
    [[1, 2, 8, 8], { input: [32, 32], crop: [20, 32], original: [7, 11], threshold: -1.5 }],
    [[1, 1, 16, 16], { input: [64, 64], crop: [1, 64], original: [3, 200], threshold: 0 }],
    [[3, 1, 5, 5], { input: [20, 20], crop: [20, 20], original: [1, 1], threshold: 0 }],
  ])('logits %s, %j', async (shape, options) => {
    const logits = generate({ name: 'logits', shape, scale: 6 });
    const y = await apply(logits, options);
    const size = options.original[0] * options.original[1];
    const [h, w] = shape.slice(2) as Size;
    for (let i = 0; i < shape[0]! * shape[1]!; i++) {
      const want = expected(logits.data.subarray(i * h * w, (i + 1) * h * w), [h, w], options);
      const clear = [...want].map((value) => Math.abs(value - options.threshold) > 1e-4);
      const mine = [...y.data.subarray(i * size, (i + 1) * size)].filter((_, k) => clear[k]);
      expect(mine).toEqual(
        [...want].filter((_, k) => clear[k]).map((value) => Number(value > options.threshold)),
      );
    }
  });

  it('leaves out what is exactly at the threshold', async () => {
    const options = { input: [8, 8], crop: [8, 8], original: [8, 8] } as const;
    const logits = host([1, 1, 2, 2], [0, 0, 0, 0]);
    expect((await apply(logits, { ...options, threshold: 0 })).data).toEqual(new Float32Array(64));
    expect((await apply(logits, { ...options, threshold: -1e-6 })).data).toEqual(
      new Float32Array(64).fill(1),
    );
  });

  it('gives each prompt of a batch what it gets alone', async () => {
    const options = { input: [32, 32], crop: [25, 32], original: [51, 66], threshold: 0 } as const;
    const logits = generate({ name: 'logits', shape: [3, 2, 8, 8], scale: 5 });
    const together = await apply(logits, options);
    for (let i = 0; i < 3; i++)
      expect((await apply(item(logits, i), options)).data).toEqual(item(together, i).data);
  });

  it.each([
    ['three axes', [1, 8, 8], [32, 32]],
    ['a crop beyond the input', [1, 1, 8, 8], [32, 33]],
    ['a crop of nothing', [1, 1, 8, 8], [0, 32]],
  ])('refuses %s', async (_, shape, crop) => {
    const logits = generate({ name: 'logits', shape });
    const options = { input: [32, 32], crop: crop as Size, original: [10, 10], threshold: 0 } as const;
    const error = await errorOf(() => apply(logits, options));
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain(`logits f32 [${shape.join(', ')}]`);
  });
});
