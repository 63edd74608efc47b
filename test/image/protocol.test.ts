// Pictures in and logits out, by the rules of both families, against what their published code gives.
import { describe, expect, it } from 'vitest';
import { bilinearResize } from '../../lib/graph/ops/bilinear_resize.js';
import { maskThreshold } from '../../lib/graph/ops/mask_threshold.js';
import { type PreprocessOptions, preprocess } from '../../lib/graph/ops/preprocess.js';
import { decodeImage } from '../../lib/image/decode.js';
import type { Pixels } from '../../lib/image/pixels.js';
import { officialLongestSide } from '../../lib/image/resize.js';
import { expectClose, expectWithin } from '../support/compare.js';
import { item, strided } from '../support/layout.js';
import {
  describeShared,
  fixture,
  generate,
  type HostTensor,
  HostTensors,
  readJson,
} from '../support/reference.js';
import { host, runOne } from '../support/run.js';

const transforms = readJson('sam/transforms/case.json');
const postprocess = readJson('sam/postprocess/case.json');
const clicks = readJson('clicks/clicks.json');
const picture = async (name: string) => decodeImage(fixture(`sam/transforms/${name}`)!);

const PLAIN = { mean: [0, 0, 0], std: [1, 1, 1], antialias: false, swap: false };
const run = ({ data, width, height, channels }: Pixels, options: PreprocessOptions) =>
  runOne(
    { pixels: host([height, width, channels], data) },
    (graph, { pixels }) => preprocess(graph, pixels!, options),
    {
      dtype: 'u8',
    },
  );

/** The picture's levels as (1, 3, h, w). */
const planes = ({ data, width, height }: Pixels): HostTensor =>
  host(
    [1, 3, height, width],
    Float32Array.from({ length: data.length }, (_, i) => {
      const positions = width * height;
      return data[(i % positions) * 3 + Math.floor(i / positions)]!;
    }),
  );

type Resized = { image: string; target: number; file: string; out_hw: [number, number] };
const resizesOf = (image: string): Resized[] =>
  transforms.apply_image.filter((each: Resized) => each.image === image);

async function expectPillow({ image, out_hw, file }: Resized) {
  const from = await picture(`${image}.png`);
  const to = await run(from, { ...PLAIN, size: out_hw, padded: out_hw, antialias: true });
  expect(to).toEqual(planes(await picture(file)));
}

async function expectPreprocess(image: string) {
  const expected = await HostTensors.load('sam/transforms/expected.safetensors');
  const each = transforms.preprocess.find((other: { image: string }) => other.image === image);
  const made = await run(await picture(`${image}.png`), {
    size: each.resized_hw,
    padded: each.padded.slice(2),
    mean: each.pixel_mean,
    std: each.pixel_std,
    antialias: true,
    swap: false,
  });
  expect(made.shape).toEqual(each.padded);
  const noise = transforms.expected.tensors[each.out];
  expectClose(strided(made, 5).data, expected.get(each.out).data, noise, each.out);
}

describe("SAM's resize of synthetic noise", () => {
  it.each(resizesOf('noise'))('to $target is that of Pillow, byte for byte', expectPillow);
  it('is normalised and padded', () => expectPreprocess('noise'));
});

describeShared("SAM's resize of a photograph", () => {
  it.each(resizesOf('photo'))('to $target is that of Pillow, byte for byte', expectPillow);
  it('is normalised and padded', () => expectPreprocess('photo'));
});

describe("SAM's masks at the original size", () => {
  it.each(postprocess.cases as (typeof postprocess.cases)[number][])('$out', async (each) => {
    const logits = generate(each.low_res);
    const options = {
      input: [each.img_size, each.img_size] as const,
      crop: each.input_size,
      original: each.original_size,
    };
    const masks = await runOne({ logits }, (graph, v) =>
      maskThreshold(graph, v.logits!, { ...options, threshold: 0 }),
    );
    const resized = await runOne({ logits }, (graph, v) =>
      bilinearResize(graph, v.logits!, options.input, false),
    );
    const full = await runOne({ cut: cut(resized, each.input_size) }, (graph, v) =>
      bilinearResize(graph, v.cut!, each.original_size, false),
    );

    const expected = await HostTensors.load('sam/postprocess/expected.safetensors');
    const noise = postprocess.expected.tensors[each.out];
    expectClose(strided(full, each.stride).data, expected.get(each.out).data, noise, 'logits');
    // Both resizes at once give the same masks as one after the other, but where a logit is 0 to rounding.
    const wrong = masks.data.filter(
      (pixel, i) => pixel !== Number(full.data[i]! > 0) && Math.abs(full.data[i]!) > 1e-5,
    );
    expect(wrong).toHaveLength(0);
    const areas = each.area.flat() as number[];
    const size = masks.data.length / areas.length;
    areas.forEach((area, i) => {
      const set = masks.data.subarray(i * size, (i + 1) * size).reduce((sum, pixel) => sum + pixel, 0);
      expect(Math.abs(set - area)).toBeLessThanOrEqual(each.pixels_with_other_sign_in_float64);
    });
  });
});

describe("HRSAM's resize", () => {
  type Case = (typeof clicks.resize_pad)[number];
  it.each(clicks.resize_pad as Case[])('$name: the picture, padded, and the logits back', async (each) => {
    const tensors = await HostTensors.load('clicks/resize.safetensors');
    const get = (name: string) => tensors.get(`${each.name}/${name}`);
    const { size, target } = each;
    const { height, width } = officialLongestSide(size[0], size[1], target);

    const image = await runOne({ image: get('image') }, (graph, v) =>
      bilinearResize(graph, v.image!, [height, width], false),
    );
    const unpadded = cut(get('resized_padded'), [height, width]);
    expectClose(image.data, unpadded.data, each.fp32_vs_fp64.resized_padded, 'the picture');

    const logits = get('logits');
    const up = await runOne({ logits }, (graph, v) =>
      bilinearResize(graph, v.logits!, [target, target], false),
    );
    const restored = await runOne({ cut: cut(up, [height, width]) }, (graph, v) =>
      bilinearResize(graph, v.cut!, size, false),
    );
    expectClose(restored.data, get('restored').data, each.fp32_vs_fp64.restored, 'the logits');
    const masks = await runOne({ logits }, (graph, v) =>
      maskThreshold(graph, v.logits!, {
        input: [target, target],
        crop: [height, width],
        original: size,
        threshold: 0,
      }),
    );
    expect([...masks.data]).toEqual(Array.from(get('restored').data, (logit) => Number(logit > 0)));
  });

  it('of bytes is that of the normalised picture, padded with zeros', async () => {
    const [mean, std] = [
      [123.675, 116.28, 103.53],
      [58.395, 57.12, 57.375],
    ];
    const noise = await picture('noise.png');
    const size = [70, 100] as const;
    const made = await run(noise, { size, padded: [112, 128], mean, std, antialias: false, swap: false });
    const normalised = planes(noise);
    const positions = noise.width * noise.height;
    normalised.data.forEach((level, i) => {
      const plane = Math.floor(i / positions);
      normalised.data[i] = (level - mean[plane]!) / std[plane]!;
    });
    const resized = await runOne({ x: normalised }, (graph, v) => bilinearResize(graph, v.x!, size, false));
    expectWithin(cut(made, size).data, resized.data, { relL2: 1e-6, maxAbs: 1e-5 });
    const outside = made.data.filter((_, i) => i % 128 >= 100 || Math.floor(i / 128) % 112 >= 70);
    expect(outside.every((value) => value === 0)).toBe(true);
  });

  it('takes the order of the channels from the weights', async () => {
    const noise = await picture('noise.png');
    const size = [33, 47] as const;
    const rgb = await run(noise, { ...PLAIN, size, padded: size });
    const bgr = await run(noise, { ...PLAIN, size, padded: size, swap: true });
    expect(rgb).toEqual(planes(noise));
    for (const plane of [0, 1, 2]) {
      const plain = item(host([3, 33, 47], rgb.data), 2 - plane);
      expect(item(host([3, 33, 47], bgr.data), plane).data).toEqual(plain.data);
    }
  });
});

/** The first rows and columns of (…, h, w). */
function cut({ shape, data }: HostTensor, [height, width]: readonly [number, number]): HostTensor {
  const [h, w] = shape.slice(-2) as [number, number];
  const kept = data.filter((_, i) => i % w < width && Math.floor(i / w) % h < height);
  return { shape: [...shape.slice(0, -2), height, width], data: kept };
}
