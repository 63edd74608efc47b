import { readFileSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { readBmp } from '../../lib/data/bmp.js';
import { readLabels } from '../../lib/data/read_picture.js';
import { instanceMask } from '../../lib/eval/data/coco.js';
import { binaryMask, regions } from '../../lib/eval/data/label_map.js';
import { readMat } from '../../lib/eval/data/mat.js';
import { polygonMask } from '../../lib/eval/data/polygon.js';
import { compressRle, encodeRle, rleArea } from '../../lib/image/rle.js';
import { crc32 } from '../../lib/weights/zip.js';
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

/** A PNG with one more chunk before its pixels. */
function withChunk(png: Buffer, type: string, content: Buffer): Buffer {
  const body = Buffer.concat([Buffer.from(type), content]);
  const [length, crc] = [Buffer.alloc(4), Buffer.alloc(4)];
  length.writeUInt32BE(content.length);
  crc.writeUInt32BE(crc32(body));
  const at = png.indexOf('IDAT') - 4;
  return Buffer.concat([png.subarray(0, at), length, body, crc, png.subarray(at)]);
}

describe('bitmaps', () => {
  const files = sample();
  /** Width 5, height 2, with a palette of white and two greys; rows of 8 or 4 bits. */
  const indexed = (bits: 1 | 4 | 8, indices: number[][], top = false) => {
    const rowBytes = Math.ceil((5 * bits) / 32) * 4;
    const begin = 54 + 4 * 2 ** bits;
    const bytes = Buffer.alloc(begin + 2 * rowBytes);
    bytes.write('BM');
    bytes.writeUInt32LE(begin, 10);
    bytes.writeUInt32LE(40, 14);
    bytes.writeInt32LE(5, 18);
    bytes.writeInt32LE(top ? -2 : 2, 22);
    bytes.writeUInt16LE(bits, 28);
    [0, 255, 128].slice(0, 2 ** bits).forEach((grey, i) => {
      bytes.set([grey, grey, grey], 54 + 4 * i);
    });
    indices.forEach((row, y) => {
      row.forEach((index, x) => {
        const at = begin + (top ? y : 1 - y) * rowBytes + Math.floor((x * bits) / 8);
        bytes[at]! |= index << (8 - bits - ((x * bits) % 8));
      });
    });
    return bytes;
  };
  const red = async (name: string) => {
    const { data, channels } = await readBmp(files.path(name));
    return Array.from({ length: data.length / channels }, (_, i) => data[i * channels]);
  };

  it.each([1, 4, 8] as const)('of %i bits, rows from either end', async (bits) => {
    const indices = [
      [0, 1, 0, 0, 1],
      [1, 1, 0, 1, 0],
    ];
    const wanted = indices.flat().map((index) => index * 255);
    files.write(`up${bits}.bmp`, indexed(bits, indices));
    files.write(`down${bits}.bmp`, indexed(bits, indices, true));
    expect(await red(`up${bits}.bmp`)).toEqual(wanted);
    expect(await red(`down${bits}.bmp`)).toEqual(wanted);
  });

  it('of 24 bits', async () => {
    await files.picture('colour.bmp', 3, 2, (x, y) => [x * 10, y * 20, 7]);
    const { data, width, height } = await readBmp(files.path('colour.bmp'));
    expect([width, height]).toEqual([3, 2]);
    expect([...data.subarray(9)]).toEqual([0, 20, 7, 10, 20, 7, 20, 20, 7]);
  });

  it('refuses what is none, truncated, compressed, or of another depth', async () => {
    const good = indexed(8, [
      [0, 1, 2, 0, 1],
      [2, 2, 0, 1, 0],
    ]);
    const changed = (edit: (bytes: Buffer) => void) => {
      const bytes = Buffer.from(good);
      edit(bytes);
      return bytes;
    };
    const bad = [
      Buffer.from('BM'),
      good.subarray(0, good.length - 1),
      changed((bytes) => bytes.writeUInt32LE(1, 30)),
      changed((bytes) => bytes.writeUInt16LE(7, 28)),
      changed((bytes) => bytes.writeInt32LE(0, 18)),
      changed((bytes) => bytes.writeInt32LE(2 ** 30, 18)),
      changed((bytes) => bytes.writeUInt32LE(2 ** 31, 10)),
      changed((bytes) => bytes.writeUInt32LE(2 ** 31, 14)),
    ];
    for (const [i, bytes] of bad.entries()) {
      files.write(`bad${i}.bmp`, bytes);
      expect((await errorOf(() => readBmp(files.path(`bad${i}.bmp`)))).code).toBe('ERR_IMAGE');
    }
    expect(await codeOf(() => readBmp(files.path('none.bmp')))).toBe('ERR_FILE');
  });
});

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
