import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { evaluate } from '../../lib/graph/evaluate.js';
import { bilinearResize } from '../../lib/graph/ops/bilinear_resize.js';
import { concat } from '../../lib/graph/ops/concat.js';
import { preprocess } from '../../lib/graph/ops/preprocess.js';
import type { Pixels } from '../../lib/image/pixels.js';
import { longestSide } from '../../lib/image/resize.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { EncodedImage } from '../../lib/predictor/image.js';
import type { Mask } from '../../lib/predictor/mask.js';
import { elementCount } from '../../lib/runtime/dtype.js';
import { errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { device, download, host, upload } from '../support/run.js';
import { contents, picture, randomModel } from './support/models.js';

const sizeOf = ({ original, resized, input }: EncodedImage) =>
  [original, resized, input].map(({ height, width }) => [height, width]);

const answer = async (image: EncodedImage) =>
  (await image.segment({ points: [[0, 0]], multimask: true })).map(contents);

describe.each(['hrsam-tiny', 'hrsam++-tiny', 'sam-tiny'])('encode, %s', (preset) => {
  let model: HRSAM;
  let side: number;
  beforeAll(async () => {
    model = await randomModel(preset);
    side = model.config.image.size;
  });

  it.each([
    [90, 150],
    [150, 90],
    [64, 64],
    [300, 411],
    [120, 1],
    [1, 120],
    [1, 1],
    [3, 3000],
  ])('a picture of %i × %i', async (height, width) => {
    using image = await model.encode(picture(height, width));
    const scale = side / Math.max(height, width);
    const resized = [height, width].map((length) => Math.max(1, Math.floor(length * scale + 0.5)));
    expect(sizeOf(image)).toEqual([[height, width], resized, [side, side]]);
    expect(image.embedding.shape).toEqual([1, side / 16, side / 16, model.config.prompt.embedDim]);
    expect(image.bytes).toBe(4 * image.embedding.size);
    const { data } = await download(image.embedding);
    expect(data.every(Number.isFinite)).toBe(true);
    const [mask] = await image.segment({ box: [0, 0, width, height] });
    expect([mask!.height, mask!.width]).toEqual([height, width]);
    expect(mask!.pixels()).toHaveLength(height * width);
  });

  it('sees the same in grey, colour and with alpha', async () => {
    const grey = picture(40, 30, 1);
    const channels = (count: 3 | 4): Pixels => ({
      ...grey,
      channels: count,
      data: Uint8Array.from({ length: 40 * 30 * count }, (_, i) =>
        i % count === 3 ? i : grey.data[Math.floor(i / count)]!,
      ),
    });
    const answers = [];
    for (const pixels of [grey, channels(3), channels(4)]) {
      using image = await model.encode(pixels);
      answers.push(await answer(image));
    }
    expect(answers[1]).toEqual(answers[0]);
    expect(answers[2]).toEqual(answers[0]);
  });

  it('takes a file, its bytes and its pixels alike', async () => {
    const file = scratch('hrsam-');
    const pixels = picture(40, 56);
    const { data, width, height } = pixels;
    const bytes = await sharp(data, { raw: { width, height, channels: 3 } })
      .png()
      .toBuffer();
    await sharp(bytes).toFile(file('picture.png'));
    const clamped = { ...pixels, data: Uint8ClampedArray.from(data) };
    const answers = [];
    for (const source of [file('picture.png'), bytes, pixels, clamped]) {
      using image = await model.encode(source);
      answers.push(await answer(image));
    }
    for (const other of answers.slice(1)) expect(other).toEqual(answers[0]);
  });

  it('stops before it begins when the signal has fired', async () => {
    const error = await errorOf(() => model.encode(picture(8, 8), { signal: AbortSignal.abort() }));
    expect(error.code).toBe('ERR_ABORTED');
  });
});

describe.each([
  ['hrsam-tiny', 'f32'],
  ['hrsam++-tiny', 'f32'],
  ['sam-tiny', 'f32'],
  ['hrsam-tiny', 'bf16'],
  ['hrsam++-tiny', 'bf16'],
  ['sam-tiny', 'bf16'],
] as const)('a batch, %s in %s', (preset, dtype) => {
  it('gives each picture what it gets alone', async () => {
    const model = await randomModel(preset, dtype);
    const pictures = [picture(90, 150), picture(33, 20, 1), picture(90, 150, 4)];
    const batch = await model.encodeBatch(pictures);
    for (const [i, each] of pictures.entries()) {
      using alone = await model.encode(each);
      expect(sizeOf(batch[i]!)).toEqual(sizeOf(alone));
      expect((await download(batch[i]!.embedding)).data).toEqual((await download(alone.embedding)).data);
      expect(await answer(batch[i]!)).toEqual(await answer(alone));
    }
    for (const image of batch) image.dispose();
  });
});

describe.each(['hrsam-tiny', 'hrsam++-tiny'])('the size, %s', (preset) => {
  let model: HRSAM;
  beforeAll(async () => {
    model = await randomModel(preset);
  });

  it.each([16, 64, 272, 512])('%i', async (size) => {
    using image = await model.encode(picture(60, 80), { size });
    expect(sizeOf(image)).toEqual([
      [60, 80],
      [size * 0.75, size],
      [size, size],
    ]);
    const [mask] = await image.segment({ points: [[40, 30]] });
    expect([mask!.logits.height, mask!.logits.width]).toEqual([size / 4, size / 4]);
    expect(mask!.logits.data.every(Number.isFinite)).toBe(true);
    const [refined] = await image.segment({ mask: mask!.logits });
    expect([refined!.height, refined!.width]).toEqual([60, 80]);
  });

  it('takes logits that came from another size', async () => {
    using small = await model.encode(picture(60, 80), { size: 128 });
    using large = await model.encode(picture(60, 80), { size: 256 });
    const [coarse] = await small.segment({ points: [[40, 30]] });
    const [fine] = await large.segment({ points: [[40, 30]], mask: coarse!.logits });
    expect(fine!.logits.width).toBe(64);
    expect(fine!.logits.data.every(Number.isFinite)).toBe(true);
  });
});

describe.each(['hrsam-tiny', 'sam-tiny'])('a divisor, %s', (preset) => {
  let model: HRSAM;
  let size: number;
  beforeAll(async () => {
    model = await randomModel(preset);
    size = model.config.image.size;
  });

  /** Zeros at the right and bottom of the normalised picture, then what a picture of that size becomes. */
  async function byHand(pixels: Pixels, [height, width]: readonly [number, number]): Promise<EncodedImage> {
    const { mean, std } = model.config.image;
    const resized = longestSide(height, width, size);
    const below = [1, 3, size - resized.height, size];
    using raw = upload(host([pixels.height, pixels.width, 3], pixels.data), 'u8');
    using zeros = upload(host(below, new Float32Array(elementCount(below))));
    const { input } = await evaluate({ raw, zeros }, (graph, v) => {
      const whole = preprocess(graph, v.raw!, {
        size: [pixels.height, pixels.width],
        padded: [height, width],
        mean,
        std,
        antialias: false,
        swap: false,
      });
      const image = bilinearResize(graph, whole, [resized.height, resized.width], false);
      return { input: concat(graph, [image, v.zeros!], 2) };
    });
    using image = input!;
    const [embedding] = await model.network.encode([image]);
    const sizes = { original: { height, width }, resized, input: { height: size, width: size } };
    return new EncodedImage(model.network, embedding!, sizes);
  }

  it('pads before the picture is resized; prompts and masks are in its own pixels all the same', async () => {
    const pixels = picture(75, 130);
    using image = await model.encode(pixels, { divisor: 32 });
    using whole = await byHand(pixels, [96, 160]);
    expect(sizeOf(image)).toEqual([[75, 130], ...sizeOf(whole).slice(1)]);
    const cut = (mask: Mask) => {
      const all = mask.pixels();
      return Uint8Array.from({ length: 75 * 130 }, (_, i) => all[Math.floor(i / 130) * 160 + (i % 130)]!);
    };
    const prompts = [{ points: [[120, 70]] }, { points: [[60, 30]] }, { box: [3, 5, 130, 75] }] as const;
    for (const multimask of [false, true]) {
      const masks = (await image.segment(prompts, { multimask })).flat();
      const wanted = (await whole.segment(prompts, { multimask })).flat();
      expect(masks.map(({ logits }) => logits)).toEqual(wanted.map(({ logits }) => logits));
      expect(masks.map(({ rle }) => rle.size)).toEqual(masks.map(() => [75, 130]));
      expect(masks.map((mask) => mask.pixels())).toEqual(wanted.map(cut));
    }
    if (preset === 'sam-tiny') return;
    using fine = await model.encode(pixels, { divisor: 32, size: size + 64, coarseToFine: true });
    expect(fine.coarse!.padded).toEqual({ height: 96, width: 160 });
    expect((await download(fine.coarse!.embedding)).data).toEqual((await download(image.embedding)).data);
  });
});

describe('bad calls', () => {
  let model: HRSAM;
  beforeAll(async () => {
    model = await randomModel('hrsam-tiny');
  });

  it.each([0, 8, 100, 32784, -16, 16.5, Number.NaN, '256', null])('size %s', async (size) => {
    const error = await errorOf(() => model.encode(picture(8, 8), { size: size as number }));
    expect(error.code).toBe('ERR_ARGUMENT');
    expect(error.message).toContain('a multiple of 16 from 16 to 32768');
  });

  it('another size than that of a SAM with position codes of one size', async () => {
    const sam = await randomModel('sam-tiny');
    const error = await errorOf(() => sam.encode(picture(8, 8), { size: 256 }));
    expect(error.code).toBe('ERR_ARGUMENT');
    expect(error.message).toContain('224');
    using image = await sam.encode(picture(8, 8), { size: 224 });
    expect(image.input).toEqual({ height: 224, width: 224 });
  });

  it('no pictures', async () => {
    expect((await errorOf(() => model.encodeBatch([]))).code).toBe('ERR_ARGUMENT');
  });

  it.each([
    ['a file that is not there', '/no/such/picture.png', 'ERR_FILE'],
    ['bytes of no picture', new Uint8Array([1, 2, 3]), 'ERR_IMAGE'],
    ['pixels that do not fit', { ...picture(4, 4), width: 5 }, 'ERR_IMAGE'],
    ['a number', 7, 'ERR_ARGUMENT'],
    ['nothing', undefined, 'ERR_ARGUMENT'],
  ])('%s', async (_, source, code) => {
    expect((await errorOf(() => model.encode(source as Pixels))).code).toBe(code);
    // One bad picture fails its batch; nothing else does.
    expect((await errorOf(() => model.encodeBatch([picture(4, 4), source as Pixels]))).code).toBe(code);
    using image = await model.encode(picture(4, 4));
    expect(image.disposed).toBe(false);
  });
});

describe('load', () => {
  it.each([
    [null, {}, 'ERR_ARGUMENT'],
    [7, {}, 'ERR_ARGUMENT'],
    ['random:no-such-preset', { device: 'cpu' }, 'ERR_CONFIG'],
    ['/no/such/weights.safetensors', { device: 'cpu' }, 'ERR_FILE'],
    ['random:hrsam-tiny', { device: 'tpu' }, 'ERR_DEVICE'],
    ['random:hrsam-tiny', { device: 'cuda:99' }, 'ERR_DEVICE'],
    ['random:hrsam-tiny', { device: 5 }, 'ERR_DEVICE'],
    ['random:hrsam-tiny', { dtype: 'f16' }, 'ERR_ARGUMENT'],
    ['random:hrsam-tiny', { device: 'cpu', dtype: 'fp8' }, 'ERR_DEVICE'],
    ['random:hrsam-tiny', { device: 'cpu', threads: 0 }, 'ERR_ARGUMENT'],
  ])('%s, %o: %s', async (weights, options, code) => {
    const call = () => HRSAM.load(weights as string, options as Parameters<typeof HRSAM.load>[1]);
    expect((await errorOf(call)).code).toBe(code);
  });

  it('reports its progress', async () => {
    const calls: [number, number][] = [];
    const onProgress = (done: number, total: number) => calls.push([done, total]);
    (await HRSAM.load('random:hrsam-tiny', { device, onProgress })).dispose();
    const total = calls.length;
    expect(total).toBeGreaterThan(10);
    expect(calls).toEqual(calls.map((_, i) => [i + 1, total]));
  });

  it('in bf16 gives nearly the same', async () => {
    const exact = await randomModel('hrsam-tiny');
    using rough = await HRSAM.load('random:hrsam-tiny', { device, dtype: 'bf16' });
    using image = await exact.encode(picture(50, 80));
    using other = await rough.encode(picture(50, 80));
    const [a, b] = [await download(image.embedding), await download(other.embedding)];
    const norm = Math.hypot(...a.data);
    const error = Math.hypot(...a.data.map((value, i) => value - b.data[i]!)) / norm;
    expect(error).toBeGreaterThan(0);
    expect(error).toBeLessThan(1.5e-2);
  });

  it('once disposed, refuses everything and frees its weights', async () => {
    const file = scratch('hrsam-');
    const model = await HRSAM.load('random:hrsam-tiny', { device });
    const image = await model.encode(picture(20, 20));
    await model.saveEmbedding(image, file('e.safetensors'));
    const before = device.memory();
    model.dispose();
    model.dispose();
    const after = device.memory();
    expect(after.buffers + after.packed).toBeLessThan(before.buffers + before.packed);
    for (const call of [
      () => model.encode(picture(20, 20)),
      () => model.loadEmbedding(file('e.safetensors')),
      () => image.segment({ points: [[1, 1]] }),
    ]) {
      expect((await errorOf(call)).code).toBe('ERR_DISPOSED');
    }
    image.dispose();
  });

  it('may be disposed while work is under way', async () => {
    const model = await HRSAM.load('random:hrsam-tiny', { device });
    const pending = Promise.allSettled([model.encode(picture(20, 20)), model.encode(picture(30, 20))]);
    model.dispose();
    for (const result of await pending) {
      if (result.status === 'fulfilled') result.value.dispose();
      else expect(result.reason.code).toBe('ERR_DISPOSED');
    }
  });
});
