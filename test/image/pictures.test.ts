import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { type OverlayOptions, renderOverlay } from '../../lib/image/overlay.js';
import { embeddingToRgb } from '../../lib/image/pca.js';
import type { Pixels } from '../../lib/image/pixels.js';
import { maskToPng } from '../../lib/image/png.js';

const hrsamError = (code: string) => expect.objectContaining({ name: 'HrsamError', code });

/** Numbers from 0 to 1, the same in every run. */
function* random(): Generator<number> {
  for (let state = 1; ; ) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    yield state / 2 ** 32;
  }
}

describe('a mask as PNG', () => {
  const [height, width] = [37, 53];
  const draws = random();
  const mask = Uint8Array.from({ length: height * width }, () => Math.floor(draws.next().value * 3));
  const levels = mask.map((pixel) => (pixel === 0 ? 0 : 255));

  it.each([8, 1] as const)('with %d bits holds the mask, white on black', async (bits) => {
    const png = await maskToPng(mask, height, width, { bits });
    expect(png[24]).toBe(bits); // the header's bit depth
    const { data, info } = await sharp(png).toColourspace('b-w').raw().toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width, height, channels: 1 });
    expect(new Uint8Array(data)).toEqual(levels);
  });

  it.each([0, 1])('of one level, %d', async (level) => {
    for (const bits of [1, 8] as const) {
      const png = await maskToPng(new Uint8Array(64).fill(level), 8, 8, { bits });
      const data = await sharp(png).toColourspace('b-w').raw().toBuffer();
      expect(data.every((value) => value === 255 * level)).toBe(true);
    }
  });

  it('must have its size and a depth there is', async () => {
    await expect(maskToPng(mask, height, width + 1)).rejects.toThrow(hrsamError('ERR_SHAPE'));
    await expect(maskToPng(new Uint8Array(0), 0, 5)).rejects.toThrow(hrsamError('ERR_SHAPE'));
    await expect(maskToPng(mask, height, width, { bits: 4 as 8 })).rejects.toThrow(
      hrsamError('ERR_ARGUMENT'),
    );
  });
});

describe('an overlay', () => {
  const [width, height] = [120, 80];
  const grey: Pixels = { data: new Uint8Array(width * height * 3).fill(100), width, height, channels: 3 };
  const mask = Uint8Array.from({ length: width * height }, (_, i) =>
    Number(i % width >= 20 && i % width < 60 && Math.floor(i / width) >= 10 && Math.floor(i / width) < 70),
  );
  const draw = async (options: OverlayOptions, picture = grey) => {
    const file = await renderOverlay(picture, options);
    const { data, info } = await sharp(file).raw().toBuffer({ resolveWithObject: true });
    expect(info).toMatchObject({ width: picture.width, height: picture.height, channels: 3 });
    return (x: number, y: number) => [
      ...data.subarray((y * info.width + x) * 3, (y * info.width + x) * 3 + 3),
    ];
  };

  it('without anything is the picture, grey and RGBA too', async () => {
    expect((await draw({}))(5, 5)).toEqual([100, 100, 100]);
    const one: Pixels = { data: new Uint8Array(6).fill(9), width: 3, height: 2, channels: 1 };
    expect((await draw({}, one))(1, 1)).toEqual([9, 9, 9]);
    const four: Pixels = { data: new Uint8Array(24).fill(9), width: 3, height: 2, channels: 4 };
    expect((await draw({}, four))(1, 1)).toEqual([9, 9, 9]);
  });

  it('tints the mask, draws its outline and leaves the rest', async () => {
    const at = await draw({ masks: [mask], alpha: 0.5, colors: [[200, 0, 0]] });
    const inside = at(40, 40);
    expect(Math.abs(inside[0]! - 150)).toBeLessThanOrEqual(1);
    expect(Math.abs(inside[1]! - 50)).toBeLessThanOrEqual(1);
    expect(at(90, 40)).toEqual([100, 100, 100]);
    expect(at(20, 40)[0]).toBeGreaterThan(inside[0]!);
  });

  it('leaves holes open', async () => {
    const ring = mask.map((pixel, i) =>
      i % width >= 35 && i % width < 45 && i / width > 30 && i / width < 50 ? 0 : pixel,
    );
    const at = await draw({ masks: [ring], colors: [[200, 0, 0]] });
    expect(at(40, 40)).toEqual([100, 100, 100]);
    expect(at(25, 40)[0]).toBeGreaterThan(110);
  });

  it('marks positive points green and negative ones red', async () => {
    const at = await draw({
      points: [
        { x: 30, y: 30, label: 1 },
        { x: 90, y: 30, label: 0 },
      ],
    });
    const [positive, negative] = [at(32, 32), at(92, 32)];
    expect(positive[1]).toBeGreaterThan(positive[0]! + 50);
    expect(negative[0]).toBeGreaterThan(negative[1]! + 50);
    expect(at(60, 60)).toEqual([100, 100, 100]);
  });

  it('draws boxes', async () => {
    const at = await draw({ boxes: [[100, 60, 10, 20]] });
    expect(Math.max(...at(10, 40), ...at(9, 40))).toBeGreaterThan(150);
    expect(at(50, 40)).toEqual([100, 100, 100]);
  });

  it('draws a mask of noise in good time', async () => {
    const draws = random();
    const side = 1000;
    const speckle = Uint8Array.from({ length: side * side }, () => Number(draws.next().value < 0.5));
    const picture: Pixels = { data: new Uint8Array(side * side * 3), width: side, height: side, channels: 3 };
    await draw({ masks: [speckle] }, picture);
  }, 10_000);

  it('writes JPEG and WebP', async () => {
    for (const format of ['jpeg', 'webp'] as const) {
      expect((await sharp(await renderOverlay(grey, { format })).metadata()).format).toBe(format);
    }
  });

  it.each([
    ['a mask of another size', 'ERR_SHAPE', { masks: [new Uint8Array(5)] }],
    ['alpha', 'ERR_ARGUMENT', { alpha: 2 }],
    ['a point', 'ERR_ARGUMENT', { points: [{ x: Number.NaN, y: 0, label: 1 }] }],
    ['a box', 'ERR_ARGUMENT', { boxes: [[0, 0, '"/><script/>' as unknown as number, 5]] }],
    ['a colour', 'ERR_ARGUMENT', { masks: [mask], colors: [['red' as unknown as number, 0, 0]] }],
    ['null for masks', 'ERR_ARGUMENT', { masks: null }],
    ['null for a mask', 'ERR_SHAPE', { masks: [null] }],
    ['null for a point', 'ERR_ARGUMENT', { points: [null] }],
    ['null for a box', 'ERR_ARGUMENT', { boxes: [null] }],
    ['text for alpha', 'ERR_ARGUMENT', { alpha: '0.5' }],
    ['another format', 'ERR_ARGUMENT', { format: 'gif' }],
  ] as [string, string, OverlayOptions][])('rejects %s', async (_, code, options) => {
    await expect(renderOverlay(grey, options)).rejects.toThrow(hrsamError(code));
  });

  it('needs a picture', async () => {
    await expect(renderOverlay(null as never)).rejects.toThrow(hrsamError('ERR_IMAGE'));
  });
});

describe('the principal components of an embedding', () => {
  const [channels, height, width] = [24, 20, 30];
  const positions = height * width;
  /** Three orthogonal directions with patterns of falling strength, around a large mean. */
  const patterns = [
    (x: number, _: number) => 9 * (x / width - 0.5),
    (_: number, y: number) => 5 * (y / height - 0.5),
    (x: number, y: number) => ((x + y) % 2) - 0.5,
  ];
  const embedding = new Float32Array(channels * positions).map((_, i) => {
    const c = Math.floor(i / positions);
    const [y, x] = [Math.floor((i % positions) / width), i % width];
    return 10 + patterns[c % 3]!(x, y) * (c < 3 ? 1.5 : 1);
  });

  it('are its patterns, strongest first', () => {
    const { data, ...shape } = embeddingToRgb(embedding, channels, height, width);
    expect(shape).toEqual({ width, height, channels: 3 });
    const at = (x: number, y: number, c: number) => data[(y * width + x) * 3 + c]!;
    // Red grows with x, green with y, blue is a checkerboard; the stretch reaches both ends.
    for (const y of [0, 7, 19]) {
      expect([at(0, y, 0), at(29, y, 0)]).toEqual([0, 255]);
      expect(at(14, y, 0)).toBeGreaterThan(at(5, y, 0));
    }
    for (const x of [0, 11, 29]) expect([at(x, 0, 1), at(x, 19, 1)]).toEqual([0, 255]);
    for (const [x, y] of [
      [3, 4],
      [4, 4],
      [21, 16],
    ] as const) {
      expect(at(x, y, 2)).toBe((x + y) % 2 === 1 ? 255 : 0);
    }
  });

  it('are the same each time, and of larger pictures quickly', () => {
    const draws = random();
    const large = Float32Array.from({ length: 256 * 128 * 128 }, () => draws.next().value);
    const first = embeddingToRgb(large, 256, 128, 128);
    expect(embeddingToRgb(large.slice(), 256, 128, 128).data).toEqual(first.data);
  }, 10_000);

  it('of fewer than three channels, and of none that vary, are grey', () => {
    expect([...embeddingToRgb(Float32Array.from([1, 3]), 1, 1, 2).data]).toEqual([
      0, 128, 128, 255, 128, 128,
    ]);
    expect(new Set(embeddingToRgb(new Float32Array(48).fill(5), 3, 4, 4).data)).toEqual(new Set([128]));
  });

  it('need an embedding', () => {
    expect(() => embeddingToRgb(embedding, channels, height, width + 1)).toThrow(hrsamError('ERR_SHAPE'));
    expect(() => embeddingToRgb(new Float32Array(0), 0, 0, 0)).toThrow(hrsamError('ERR_SHAPE'));
    expect(() => embeddingToRgb(new Float32Array(4), -1, -2, 2)).toThrow(hrsamError('ERR_SHAPE'));
    const broken = embedding.slice();
    broken[77] = Number.NaN;
    expect(() => embeddingToRgb(broken, channels, height, width)).toThrow(hrsamError('ERR_ARGUMENT'));
    const others = [{ data: embedding }, undefined, [...embedding]] as unknown as Float32Array[];
    for (const other of others)
      expect(() => embeddingToRgb(other, channels, height, width)).toThrow(hrsamError('ERR_ARGUMENT'));
  });
});
