import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import fc from 'fast-check';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { type DecodeLimits, decodeImage, type ImageSource } from '../../lib/image/decode.js';
import { scratch } from '../support/files.js';

const folder = scratch('hrsam-decode-')();

/** 3 × 2 pixels, no two alike. */
const RGB = Uint8Array.from([
  10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120, 130, 140, 150, 160, 170, 180,
]);
const raw = (data: Uint8Array | Uint16Array, channels: 1 | 2 | 3 | 4, width = 3, height = 2) =>
  sharp(data, { raw: { width, height, channels } });
const picture = () => raw(RGB, 3);
const noise = () =>
  sharp({
    create: {
      width: 64,
      height: 48,
      channels: 3,
      background: 'red',
      noise: { type: 'gaussian', mean: 128, sigma: 40 },
    },
  });
const hrsamError = (code: string, text = '') =>
  expect.objectContaining({ name: 'HrsamError', code, message: expect.stringContaining(text) });
const pixelsOf = async (source: ImageSource) => [...(await decodeImage(source)).data];

describe('pictures become RGB', () => {
  it('from PNG, as bytes, Uint8Array, path and URL', async () => {
    const bytes = await picture().png().toBuffer();
    const path = join(folder, 'a picture.png');
    writeFileSync(path, bytes);
    const want = { data: RGB, width: 3, height: 2, channels: 3 };
    for (const source of [bytes, new Uint8Array(bytes), path, pathToFileURL(path)]) {
      expect(await decodeImage(source)).toEqual(want);
    }
  });

  it.each(['webp', 'gif', 'tiff', 'png'] as const)('from lossless %s', async (format) => {
    const bytes = await picture()
      .toFormat(
        format,
        format === 'webp' ? { lossless: true } : format === 'tiff' ? { compression: 'lzw' } : {},
      )
      .toBuffer();
    expect(await pixelsOf(bytes)).toEqual([...RGB]);
  });

  it('from a palette', async () => {
    expect(await pixelsOf(await picture().png({ palette: true }).toBuffer())).toEqual([...RGB]);
  });

  it('from grey, which is repeated', async () => {
    const bytes = await raw(Uint8Array.from([1, 2, 3, 4, 5, 6]), 1)
      .toColourspace('b-w')
      .png()
      .toBuffer();
    expect(await pixelsOf(bytes)).toEqual([1, 1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 4, 5, 5, 5, 6, 6, 6]);
  });

  it('from RGBA and grey with alpha, which is dropped', async () => {
    const rgba = Uint8Array.from([10, 20, 30, 0, 40, 50, 60, 128, 7, 8, 9, 255]);
    expect(await pixelsOf(await raw(rgba, 4, 3, 1).png().toBuffer())).toEqual([
      10, 20, 30, 40, 50, 60, 7, 8, 9,
    ]);
    const grey = Uint8Array.from([10, 0, 20, 128]);
    expect(await pixelsOf(await raw(grey, 2, 2, 1).png().toBuffer())).toEqual([10, 10, 10, 20, 20, 20]);
  });

  it('from 16 bits, of which the upper 8 count', async () => {
    const deep = Uint16Array.from([0, 255, 256, 511, 32768, 65535]);
    const bytes = await raw(deep, 3, 2, 1).toColourspace('rgb16').png().toBuffer();
    expect(await pixelsOf(bytes)).toEqual([0, 0, 1, 1, 128, 255]);
  });

  it('from CMYK', async () => {
    const bytes = await noise().toColourspace('cmyk').jpeg().toBuffer();
    const decoded = await decodeImage(bytes);
    expect(decoded).toMatchObject({ width: 64, height: 48, channels: 3 });
  });

  it('whatever the colour profile', async () => {
    const bytes = await picture().png().toBuffer();
    const tagged = await picture().withIccProfile('p3').png().toBuffer();
    const untagged = await sharp(tagged, { ignoreIcc: true }).png().toBuffer();
    expect(await pixelsOf(bytes)).toEqual([...RGB]);
    expect(await pixelsOf(tagged)).toEqual(await pixelsOf(untagged));
  });

  it('turned as EXIF says', async () => {
    const decoded = await decodeImage(await picture().withMetadata({ orientation: 6 }).png().toBuffer());
    expect(decoded).toMatchObject({ width: 2, height: 3 });
    // A quarter turn clockwise: the left column, from the bottom, is the first row.
    expect([...decoded.data.subarray(0, 6)]).toEqual([100, 110, 120, 10, 20, 30]);
  });

  it('from the first frame of an animation', async () => {
    const frames = Buffer.concat([Buffer.alloc(12, 200), Buffer.alloc(12, 50)]);
    const bytes = await sharp(frames, { raw: { width: 2, height: 4, channels: 3, pageHeight: 2 } })
      .gif()
      .toBuffer();
    expect(await decodeImage(bytes)).toMatchObject({
      width: 2,
      height: 2,
      data: new Uint8Array(12).fill(200),
    });
  });

  it('or stay pixels, uncopied', async () => {
    for (const channels of [1, 3, 4] as const) {
      const data = new Uint8Array(6 * channels).fill(7);
      const decoded = await decodeImage({ data, width: 3, height: 2, channels });
      expect(decoded).toEqual({ data, width: 3, height: 2, channels });
      expect(decoded.data.buffer).toBe(data.buffer);
    }
  });
});

describe('what is no picture', () => {
  it.each([
    ['text', Buffer.from('hello world, this is not a picture')],
    ['nothing', Buffer.alloc(0)],
    ['zeros', Buffer.alloc(1000)],
    ['a drawing', Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="4" height="4"/>')],
  ])('%s', async (_, bytes) => {
    await expect(decodeImage(bytes)).rejects.toThrow(hrsamError('ERR_IMAGE'));
  });

  it.each(['png', 'jpeg', 'webp', 'gif', 'tiff'] as const)('a truncated %s', async (format) => {
    const bytes = await noise()
      .toFormat(format, format === 'tiff' ? { compression: 'lzw' } : {})
      .toBuffer();
    for (const share of [0.02, 0.3, 0.6, 0.9]) {
      const cut = bytes.subarray(0, Math.floor(bytes.length * share));
      await expect(decodeImage(cut)).rejects.toThrow(hrsamError('ERR_IMAGE'));
    }
  });

  it.each([
    ['jpeg', (bytes: Buffer) => bytes.subarray(0, -1)],
    ['lzw', (bytes: Buffer) => Buffer.from(bytes).fill(0xff, bytes.length / 2, bytes.length / 2 + 400)],
    ['deflate', (bytes: Buffer) => Buffer.from(bytes).fill(0xff, bytes.length / 2, bytes.length / 2 + 400)],
  ] as const)('a damaged tiff of %s', async (compression, damage) => {
    const pixels = Uint8Array.from({ length: 3 * 200 * 100 }, (_, i) => (i * i) >>> 7);
    const bytes = await raw(pixels, 3, 200, 100).tiff({ compression }).toBuffer();
    await decodeImage(bytes);
    await expect(decodeImage(damage(bytes))).rejects.toThrow(hrsamError('ERR_IMAGE'));
  });

  it('an ArrayBuffer, as fetch() gives them', async () => {
    const bytes = await raw(
      Uint8Array.from({ length: 12 }, (_, i) => i),
      3,
      2,
      2,
    )
      .png()
      .toBuffer();
    const { data } = await decodeImage(new Uint8Array(bytes).buffer);
    expect([...data]).toEqual(Array.from({ length: 12 }, (_, i) => i));
    await expect(decodeImage(new ArrayBuffer(0))).rejects.toThrow(hrsamError('ERR_IMAGE', '0 bytes'));
  });

  it('of another type is named', async () => {
    const got = (source: unknown) => decodeImage(source as Uint8Array).catch(({ message }: Error) => message);
    expect(await got(new Uint16Array(8))).toMatch(/not a picture.*got Uint16Array\(8\)/);
    const pixels = { data: new Float32Array(12), width: 2, height: 2, channels: 3 };
    expect(await got(pixels)).toMatch(/data of the wrong type.*got Float32Array\(12\)/);
  });

  it('names the file', async () => {
    const path = join(folder, 'broken.jpg');
    writeFileSync(path, 'nothing of the kind');
    await expect(decodeImage(path)).rejects.toThrow(hrsamError('ERR_IMAGE', path));
  });

  it.each([
    ['missing', () => join(folder, 'missing.png'), 'does not exist'],
    ['a folder', () => folder, 'not a regular file'],
    ['a device', () => '/dev/zero', 'not a regular file'],
  ])('a file that is %s', async (_, path, text) => {
    await expect(decodeImage(path())).rejects.toThrow(hrsamError('ERR_FILE', text));
  });

  it.each(['http://example.org/a.png', 'file://host/a.png', 'file:///a%2fb.png'])('%s', async (url) => {
    await expect(decodeImage(new URL(url))).rejects.toThrow(hrsamError('ERR_ARGUMENT', url));
  });

  it.each([null, undefined, 7, {}, []])('%j', async (source) => {
    await expect(decodeImage(source as unknown as ImageSource)).rejects.toThrow(hrsamError('ERR_ARGUMENT'));
  });

  it.each([
    { data: new Uint8Array(17), width: 3, height: 2, channels: 3 },
    { data: new Uint8Array(12), width: 3, height: 2, channels: 2 },
    { data: new Uint8Array(0), width: 0, height: 2, channels: 3 },
    { data: new Uint8Array(18), width: -3, height: -2, channels: 3 },
    { data: new Uint8Array(18), width: 1.5, height: 4, channels: 3 },
    { data: new Float32Array(18), width: 3, height: 2, channels: 3 },
    { data: null, width: 3, height: 2, channels: 3 },
  ])('pixels that do not fit together', async (pixels) => {
    await expect(decodeImage(pixels as unknown as ImageSource)).rejects.toThrow(hrsamError('ERR_IMAGE'));
  });

  it('bytes flipped at random end in a picture or a typed error', async () => {
    const files = await Promise.all(
      (['png', 'jpeg', 'webp'] as const).map((f) => noise().toFormat(f).toBuffer()),
    );
    const damage = fc.array(fc.tuple(fc.nat(), fc.integer({ min: 1, max: 255 })), {
      minLength: 1,
      maxLength: 8,
    });
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), damage, async (file, flips) => {
        const bytes = new Uint8Array(file);
        for (const [at, mask] of flips) bytes[at % bytes.length]! ^= mask;
        const outcome = await decodeImage(bytes, { maxPixels: 1e6 }).catch((error: unknown) => error);
        if (outcome instanceof Error)
          expect(outcome).toMatchObject({ name: 'HrsamError', code: 'ERR_IMAGE' });
        else expect(outcome).toMatchObject({ channels: 3 });
      }),
      { numRuns: 100 },
    );
  });
});

describe('limits', () => {
  it('on pixels, for files and for pixels', async () => {
    const bytes = await picture().png().toBuffer();
    const pixels = { data: RGB, width: 3, height: 2, channels: 3 } as const;
    for (const source of [bytes, pixels]) {
      await expect(decodeImage(source, { maxPixels: 5 })).rejects.toThrow(hrsamError('ERR_IMAGE', '3 x 2'));
      await expect(decodeImage(source, { maxPixels: 6 })).resolves.toMatchObject({ width: 3 });
    }
  });

  it('refuse a small file that claims a huge picture', async () => {
    const bytes = Buffer.from(await picture().png().toBuffer());
    bytes.writeUInt32BE(60_000, 16);
    bytes.writeUInt32BE(60_000, 20);
    await expect(decodeImage(bytes)).rejects.toThrow(hrsamError('ERR_IMAGE'));
  });

  it.each<[string, unknown]>([
    ['maxBytes', Number.NaN],
    ['maxSide', Number.NaN],
    ['maxSide', null],
    ['maxSide', 2.5],
    ['maxPixels', '1e9'],
    ['maxPixels', 0],
    ['asStored', 1],
  ])('are numbers: %s %s', async (name, limit) => {
    const limits = { [name]: limit } as DecodeLimits;
    await expect(decodeImage(await picture().png().toBuffer(), limits)).rejects.toThrow(
      hrsamError('ERR_ARGUMENT', `decodeImage: ${name}`),
    );
  });

  it('on the size of the file', async () => {
    const path = join(folder, 'large.png');
    writeFileSync(path, await picture().png().toBuffer());
    await expect(decodeImage(path, { maxBytes: 20 })).rejects.toThrow(hrsamError('ERR_IMAGE', path));
  });
});
