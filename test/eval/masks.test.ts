import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { crc32 } from 'node:zlib';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { readLabels } from '../../lib/data/read_labels.js';
import { instanceMask } from '../../lib/eval/data/coco.js';
import { binaryMask, regions } from '../../lib/eval/data/label_map.js';
import { readMat } from '../../lib/eval/data/mat.js';
import { polygonMask } from '../../lib/eval/data/polygon.js';
import { compressRle, encodeRle, rleArea } from '../../lib/image/rle.js';
import { codeOf, errorOf } from '../support/errors.js';
import { rows, sample } from './support.js';

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/eval/${name}`, import.meta.url));

describe('polygons are filled as pycocotools fills them', () => {
  interface Case {
    name: string;
    height: number;
    width: number;
    polygons: number[][];
    each: string[];
    counts: string;
    area: number;
  }
  const cases: Case[] = JSON.parse(readFileSync(fixture('polygons.json'), 'utf8'));

  it.each(cases)('$name', ({ polygons, height, width, each, counts, area }) => {
    polygons.forEach((outline, i) => {
      expect(compressRle(polygonMask(outline, height, width)).counts).toBe(each[i]);
    });
    const whole = instanceMask(polygons, { height, width }, 'here');
    expect(compressRle(whole).counts).toBe(counts);
    expect(rleArea(whole)).toBe(area);
  });

  it('run lengths come as numbers or as text', () => {
    const mask = { size: [3, 4] as [number, number], counts: [2, 5, 5] };
    const image = { height: 3, width: 4 };
    expect(instanceMask(mask, image, 'here')).toEqual(mask);
    expect(instanceMask(compressRle(mask), image, 'here')).toEqual(mask);
  });

  it.each([
    [[]],
    [[[1, 1, 2, 2]]],
    [[[1, 1, 2, 2, Number.NaN, 3]]],
    [['1 1 2 2']],
    [undefined],
    [null],
    ['text'],
    [{ size: [4, 3], counts: [12] }],
    [{ size: [3, 4], counts: [11] }],
    [{ size: [3, 4], counts: [-1, 13] }],
    [{ size: [3, 4], counts: '\u0001' }],
  ])('refuses %j', async (segmentation) => {
    const { code, message } = await errorOf(() =>
      instanceMask(segmentation, { height: 3, width: 4 }, 'here'),
    );
    expect([code, message]).toEqual(['ERR_IMAGE', expect.stringMatching(/^here: /)]);
  });
});

describe('label maps', () => {
  it('refuses a TIFF that is cut or damaged', async () => {
    const files = sample();
    const noise = Uint8Array.from({ length: 64 * 48 }, (_, i) => (i * 2654435761) >>> 24);
    for (const compression of ['jpeg', 'lzw'] as const) {
      const raw = sharp(noise, { raw: { width: 64, height: 48, channels: 1 } }).toColourspace('b-w');
      const good = await raw.tiff({ compression }).toBuffer();
      files.write('good.tif', good);
      expect((await readLabels(files.path('good.tif'))).data).toHaveLength(64 * 48);
      const [cut, changed] = [
        good.subarray(0, -1),
        Buffer.from(good).fill(0x55, good.length >> 1, (good.length >> 1) + 20),
      ];
      const bad = compression === 'jpeg' ? cut : changed;
      files.write('bad.tif', bad);
      expect(await codeOf(() => readLabels(files.path('bad.tif')))).toBe('ERR_IMAGE');
    }
  });

  it('keeps whole numbers of 16 and 32 bits, and refuses others', async () => {
    const files = sample();
    for (const [bits, format] of [
      [16, UNSIGNED],
      [16, SIGNED],
      [32, UNSIGNED],
      [32, SIGNED],
    ] as const) {
      const values = [0, 1, 2, 300, 5, 2 ** (bits - 1) - 1];
      files.write('labels.tif', tiff(3, 2, bits, format, values));
      const { data, channels } = await readLabels(files.path('labels.tif'));
      expect([channels, ...data]).toEqual([1, ...values]);
    }
    files.write('float.tif', tiff(3, 2, 32, FLOAT, [0, 0.5, 1, 0, 0, 0]));
    const { code, message } = await errorOf(() => readLabels(files.path('float.tif')));
    expect([code, message]).toEqual([
      'ERR_IMAGE',
      expect.stringMatching(/8 or 16 bits.*got float, 1 channels/),
    ]);
  });

  it('refuses an uncompressed TIFF that is cut', async () => {
    const files = sample();
    const good = tiff(
      64,
      48,
      16,
      UNSIGNED,
      Array.from({ length: 64 * 48 }, (_, i) => i),
    );
    files.write('good.tif', good);
    expect((await readLabels(files.path('good.tif'))).data).toHaveLength(64 * 48);
    for (const cut of [1, 1000]) {
      files.write('cut.tif', good.subarray(0, -cut));
      expect(await codeOf(() => readLabels(files.path('cut.tif')))).toBe('ERR_IMAGE');
    }
  });

  it('gives the run lengths of every label', () => {
    const labels = [0, 1, 1, 2, 0, 1, 3, 2, 5, 5, 3, 2];
    const found = regions(3, 4, (i) => labels[i]!);
    expect([...found.keys()].sort()).toEqual([1, 2, 3, 5]);
    for (const [label, mask] of found) {
      const pixels = Uint8Array.from(labels, (value) => Number(value === label));
      expect(mask).toEqual(encodeRle(pixels, 3, 4));
    }
    expect(regions(2, 2, () => 0).size).toBe(0);
  });

  it('a mask is what is bright, or 1 where nothing is brighter', () => {
    const image = { height: 1, width: 4, channels: 1 };
    const shown = (values: number[]) => rows(binaryMask({ ...image, data: Uint8Array.from(values) }))[0];
    expect(shown([0, 127, 128, 255])).toBe('..##');
    expect(shown([0, 1, 0, 1])).toBe('.#.#');
    expect(shown([0, 0, 0, 0])).toBe('....');
    const deep = (values: number[]) => rows(binaryMask({ ...image, data: Uint16Array.from(values) }))[0];
    expect(deep([2000, 32767, 32768, 65535])).toBe('..##');
    expect(deep([0, 127, 128, 255])).toBe('..##');
    expect(deep([0, 1, 0, 1])).toBe('.#.#');
    const deepest = (values: number[]) => rows(binaryMask({ ...image, data: Uint32Array.from(values) }))[0];
    expect(deepest([0, 2 ** 31 - 1, 2 ** 31, 2 ** 32 - 1])).toBe('..##');
    expect(deepest([0, 1, 0, 1])).toBe('.#.#');
  });

  it('reads 8 and 16 bits, colours and palettes unchanged', async () => {
    const files = sample();
    await files.deep('deep.png', 3, 2, (x, y) => 1000 * (x + 1) + y);
    expect([...(await readLabels(files.path('deep.png'))).data]).toEqual([
      1000, 2000, 3000, 1001, 2001, 3001,
    ]);
    await files.picture('grey.png', 3, 1, (x) => [x * 5]);
    expect((await readLabels(files.path('grey.png'))).data).toEqual(Uint8Array.of(0, 5, 10));
    await files.picture('colour.png', 2, 1, (x) => [x, 7, 200]);
    const { data, channels } = await readLabels(files.path('colour.png'));
    expect([channels, ...data]).toEqual([3, 0, 7, 200, 1, 7, 200]);
    // Grey with a transparent one, and colours.
    const deep = readFileSync(files.path('deep.png'));
    files.write('transparent.png', withChunk(deep, 'tRNS', Buffer.of(0x03, 0xe8)));
    expect([...(await readLabels(files.path('transparent.png'))).data]).toEqual([
      1000, 2000, 3000, 1001, 2001, 3001,
    ]);
    const colours = sharp(Uint16Array.of(1, 2, 300, 4, 5, 60000), {
      raw: { width: 2, height: 1, channels: 3 },
    });
    files.write('colours.png', await colours.toColourspace('rgb16').png().toBuffer());
    expect([...(await readLabels(files.path('colours.png'))).data]).toEqual([1, 2, 300, 4, 5, 60000]);
    files.write('broken.png', readFileSync(files.path('grey.png')).subarray(0, 40));
    expect(await codeOf(() => readLabels(files.path('broken.png')))).toBe('ERR_IMAGE');
    expect(await codeOf(() => readLabels(files.path('none.png')))).toBe('ERR_FILE');
  });
});

const [UNSIGNED, SIGNED, FLOAT] = [1, 2, 3] as const;

/** An uncompressed grey TIFF in one strip, its directory before it, as most programs write them. */
function tiff(width: number, height: number, bits: 16 | 32, format: 1 | 2 | 3, values: number[]): Buffer {
  const pixels = Buffer.alloc(values.length * (bits / 8));
  values.forEach((value, i) => {
    if (format === FLOAT) pixels.writeFloatLE(value, i * 4);
    else pixels.writeUIntLE(value, i * (bits / 8), bits / 8);
  });
  const tags = [
    [256, width],
    [257, height],
    [258, bits],
    [259, 1], // no compression
    [262, 1], // 0 is black
    [273, 8 + 2 + 10 * 12 + 4],
    [277, 1], // channels
    [278, height],
    [279, pixels.length],
    [339, format],
  ] as const;
  const head = Buffer.alloc(tags[5][1]);
  head.write('II*');
  head.writeUInt32LE(8, 4);
  head.writeUInt16LE(tags.length, 8);
  tags.forEach(([tag, value], i) => {
    head.writeUInt16LE(tag, 10 + 12 * i);
    head.writeUInt16LE(4, 12 + 12 * i);
    head.writeUInt32LE(1, 14 + 12 * i);
    head.writeUInt32LE(value, 18 + 12 * i);
  });
  return Buffer.concat([head, pixels]);
}

/** A PNG with one more chunk before its pixels. */
function withChunk(png: Buffer, type: string, content: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), content]);
  const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(content.length);
  crc.writeUInt32BE(crc32(body));
  const at = png.indexOf('IDAT') - 4;
  return Buffer.concat([png.subarray(0, at), length, body, crc, png.subarray(at)]);
}

describe('MATLAB files', () => {
  it.each(['bsds_plain.mat', 'bsds_compressed.mat'])('%s', async (name) => {
    const { groundTruth } = await readMat(fixture(name));
    if (groundTruth?.kind !== 'cells') return expect.fail('not a cell array');
    expect(groundTruth.dims).toEqual([1, 2]);
    const [first, second] = groundTruth.cells.map((cell) =>
      cell.kind === 'struct' ? cell.fields.Segmentation : undefined,
    );
    if (first?.kind !== 'numbers' || second?.kind !== 'numbers') return expect.fail('not numbers');
    expect(first.dims).toEqual([6, 10]);
    const at = (y: number, x: number) => first.values[x * 6 + y];
    expect([at(0, 0), at(1, 2), at(3, 6), at(4, 6), at(5, 9)]).toEqual([1, 2, 2, 1, 3]);
    expect(new Set(Array.from(second.values))).toEqual(new Set([1]));
  });

  it('numbers of every type', async () => {
    const files = sample();
    const element = (type: number, data: NodeJS.ArrayBufferView) => {
      const bytes = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
      const tag = Buffer.from(Uint32Array.of(type, bytes.length).buffer);
      return Buffer.concat([tag, bytes, Buffer.alloc(-bytes.length & 7)]);
    };
    for (const [type, values] of [
      [1, Int8Array.of(-100, 3)],
      [2, Uint8Array.of(200, 3)],
      [3, Int16Array.of(-30_000, 3)],
      [4, Uint16Array.of(60_000, 3)],
      [5, Int32Array.of(-(2 ** 30), 3)],
      [6, Uint32Array.of(2 ** 31 + 5, 3)],
      [7, Float32Array.of(0.5, 3)],
      [9, Float64Array.of(0.1, 3)],
      [12, BigInt64Array.of(-(2n ** 40n), 3n)],
      [13, BigUint64Array.of(2n ** 40n, 3n)],
    ] as const) {
      const head = Buffer.alloc(128);
      head.write('IM', 126);
      const parts = [
        element(6, Uint32Array.of(6, 0)),
        element(5, Int32Array.of(1, 2)),
        element(1, Buffer.from('x')),
        element(type, values),
      ];
      files.write('x.mat', Buffer.concat([head, element(14, Buffer.concat(parts))]));
      const wanted = { kind: 'numbers', dims: [1, 2], values: Array.from(values, Number) };
      expect((await readMat(files.path('x.mat'))).x, `type ${type}`).toMatchObject(wanted);
    }
  });

  it('survives every cut and every changed byte', async () => {
    const files = sample();
    for (const name of ['bsds_plain.mat', 'bsds_compressed.mat']) {
      const good = readFileSync(fixture(name));
      for (let i = 0; i < good.length; i += 3) {
        const changed = Buffer.from(good);
        changed[i]! ^= 1 << (i % 8);
        for (const bytes of [good.subarray(0, i), changed]) {
          writeFileSync(files.path('x.mat'), bytes);
          await readMat(files.path('x.mat')).catch((error) => expect(error.code).toBe('ERR_IMAGE'));
        }
      }
    }
    expect(await codeOf(() => readMat(files.path('none.mat')))).toBe('ERR_FILE');
  });
});
