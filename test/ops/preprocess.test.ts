import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { type PreprocessOptions, preprocess } from '../../lib/graph/ops/preprocess.js';
import { IMAGE_MEAN, IMAGE_STD } from '../../lib/weights/config.js';
import { expectClose } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { strided } from '../support/layout.js';
import { resized } from '../support/naive.js';
import { fixture, type HostTensor, HostTensors, readJson, samNoise } from '../support/reference.js';
import { host, runOne } from '../support/run.js';

type Size = [number, number];

interface Resizing {
  image: string;
  target: number;
  out_hw: Size;
  file: string;
}

interface Preprocessing {
  image: string;
  resized_hw: Size;
  padded: number[];
  pixel_mean: number[];
  pixel_std: number[];
  out: string;
}

const apply = (pixels: HostTensor, options: Partial<PreprocessOptions> & Pick<PreprocessOptions, 'size'>) =>
  runOne(
    { pixels },
    (graph, v) =>
      preprocess(graph, v.pixels!, {
        padded: options.size,
        mean: [0, 0, 0],
        std: [1, 1, 1],
        antialias: false,
        swap: false,
        ...options,
      }),
    { dtype: 'u8' },
  );

async function png(path: string): Promise<HostTensor> {
  const { data, info } = await sharp(fixture(path)!)
    .removeAlpha()
    .toColourspace('srgb')
    .raw()
    .toBuffer({ resolveWithObject: true });
  return host([info.height, info.width, info.channels], data);
}

/** Pixels 0 … 255 that look random. */
const pixels = (h: number, w: number, channels: number): HostTensor =>
  host(
    [h, w, channels],
    Array.from({ length: h * w * channels }, (_, i) => ((i * 2654435761) >>> 11) % 256),
  );

/** (H, W, C) → plane c as (H, W). */
const plane = ({ shape, data }: HostTensor, c: number) => data.filter((_, i) => i % shape[2]! === c);

describe('preprocess', async () => {
  const cases: { apply_image: Resizing[]; preprocess: Preprocessing[] } =
    readJson('sam/transforms/case.json');
  const noise = samNoise('sam/transforms');
  const tensors = await HostTensors.load('sam/transforms/expected.safetensors');
  it.each(cases.apply_image)('resizes $image to $target as Pillow does', async ({ image, out_hw, file }) => {
    const source = await png(`sam/transforms/${image}.png`);
    const expected = await png(`sam/transforms/${file}`);
    const y = await apply(source, { size: out_hw, antialias: true });
    for (let c = 0; c < 3; c++) {
      const actual = y.data.subarray(c * out_hw[0] * out_hw[1], (c + 1) * out_hw[0] * out_hw[1]);
      expect(actual).toEqual(plane(expected, c));
    }
  });

  it.each(cases.preprocess)(
    'normalises and pads $image as Segment Anything does',
    async ({ image, resized_hw, padded, pixel_mean: mean, pixel_std: std, out }) => {
      const source = await png(`sam/transforms/${image}.png`);
      const y = await apply(source, {
        size: resized_hw,
        padded: padded.slice(2) as Size,
        mean,
        std,
        antialias: true,
      });
      expect(y.shape).toEqual(padded);
      expectClose(strided(y, 5).data, tensors.get(out).data, noise[out]!);
    },
  );

  it.each([
    [
      [5, 7],
      [5, 7],
    ],
    [
      [8, 6],
      [16, 12],
    ],
    [
      [20, 31],
      [9, 16],
    ],
    [
      [1, 3],
      [16, 48],
    ],
    [
      [33, 1],
      [32, 1],
    ],
  ])('bilinear: %s to %s, padded with zeros in normalised space', async (from, to) => {
    const picture = pixels(from[0]!, from[1]!, 3);
    const padded: Size = [to[0]! + 3, to[1]! + 5];
    const y = await apply(picture, {
      size: to as Size,
      padded,
      mean: IMAGE_MEAN,
      std: IMAGE_STD,
    });
    const expected = new Float64Array(3 * padded[0] * padded[1]);
    for (let c = 0; c < 3; c++) {
      resized(plane(picture, c), from as Size, to as Size).forEach((value, i) => {
        const [row, column] = [Math.floor(i / to[1]!), i % to[1]!];
        expected[(c * padded[0] + row) * padded[1] + column] = (value - IMAGE_MEAN[c]!) / IMAGE_STD[c]!;
      });
    }
    expect(y.shape).toEqual([1, 3, ...padded]);
    expectClose(y.data, expected, {});
  });

  it.each([false, true])(
    'reads grey as three equal channels and drops alpha (antialias %s)',
    async (antialias) => {
      const grey = pixels(9, 11, 1);
      const size: Size = [7, 8];
      const y = await apply(grey, { size, antialias });
      const colour = host(
        [9, 11, 3],
        Array.from({ length: 297 }, (_, i) => grey.data[Math.floor(i / 3)]!),
      );
      const withAlpha = host(
        [9, 11, 4],
        Array.from({ length: 396 }, (_, i) => (i % 4 === 3 ? i % 256 : grey.data[Math.floor(i / 4)]!)),
      );
      expect(await apply(colour, { size, antialias })).toEqual(y);
      expect(await apply(withAlpha, { size, antialias })).toEqual(y);
    },
  );

  it.each([false, true])(
    'reverses channels, and not the means, for weights that expect BGR (antialias %s)',
    async (antialias) => {
      const picture = pixels(6, 5, 3);
      const reversed = host(
        [6, 5, 3],
        picture.data.map((_, i) => picture.data[i - (i % 3) + 2 - (i % 3)]!),
      );
      const options = { size: [7, 4], mean: IMAGE_MEAN, std: IMAGE_STD, antialias } as const;
      expect(await apply(picture, { ...options, swap: true })).toEqual(await apply(reversed, options));
    },
  );

  it.each([
    ['pixels of two channels', [4, 4, 2], [4, 4], [4, 4]],
    ['a batch', [1, 4, 4, 3], [4, 4], [4, 4]],
    ['a size of nothing', [4, 4, 3], [0, 4], [4, 4]],
    ['less padding than picture', [4, 4, 3], [4, 4], [4, 3]],
  ])('refuses %s', async (_, shape, size, padded) => {
    const given = host(shape, new Float32Array(shape.reduce((product, n) => product * n, 1)));
    const error = await errorOf(() => apply(given, { size: size as Size, padded: padded as Size }));
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain(`pixels u8 [${shape.join(', ')}]`);
  });
});
