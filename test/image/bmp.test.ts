import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../lib/image/decode.js';
import { sample } from '../eval/support.js';
import { codeOf, errorOf } from '../support/errors.js';

const files = sample();

describe('bitmaps', () => {
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
  const red = async (bytes: Buffer) => {
    const { data, channels } = await decodeImage(bytes);
    return Array.from({ length: data.length / channels }, (_, i) => data[i * channels]);
  };

  it.each([1, 4, 8] as const)('of %i bits, rows from either end', async (bits) => {
    const indices = [
      [0, 1, 0, 0, 1],
      [1, 1, 0, 1, 0],
    ];
    const wanted = indices.flat().map((index) => index * 255);
    expect(await red(indexed(bits, indices))).toEqual(wanted);
    expect(await red(indexed(bits, indices, true))).toEqual(wanted);
    const last = indexed(bits, [Array(5).fill(2 ** bits - 1), Array(5).fill(0)]);
    last[54 + 4 * (2 ** bits - 1) + 2] = 77;
    expect(await red(last)).toEqual([77, 77, 77, 77, 77, 0, 0, 0, 0, 0]);
  });

  it('of 24 bits, whatever the file is called', async () => {
    await files.picture('colour.bmp', 3, 2, (x, y) => [x * 10, y * 20, 7]);
    files.write('colour.jpg', readFileSync(files.path('colour.bmp')));
    const { data, width, height } = await decodeImage(files.path('colour.jpg'));
    expect([width, height]).toEqual([3, 2]);
    expect([...data.subarray(9)]).toEqual([0, 20, 7, 10, 20, 7, 20, 20, 7]);
  });

  it('of 32 bits, with masks of whole bytes in any order or without; other masks are refused', async () => {
    const bytes = Buffer.alloc(14 + 40 + 12 + 4);
    bytes.write('BM');
    bytes.writeUInt32LE(66, 10);
    bytes.writeUInt32LE(40, 14);
    bytes.writeInt32LE(1, 18);
    bytes.writeInt32LE(1, 22);
    bytes.writeUInt16LE(32, 28);
    bytes.set([40, 30, 20, 10], 66);
    const colour = async () => [...(await decodeImage(bytes)).data];
    const setMasks = (masks: number[]) =>
      masks.forEach((mask, i) => void bytes.writeUInt32LE(mask, 54 + 4 * i));
    expect(await colour()).toEqual([20, 30, 40]);
    bytes.writeUInt32LE(3, 30);
    for (const [masks, wanted] of [
      [
        [0xff0000, 0xff00, 0xff],
        [20, 30, 40],
      ],
      [
        [0xff000000, 0xff0000, 0xff00],
        [10, 20, 30],
      ],
      [
        [0xff, 0xff00, 0xff0000],
        [40, 30, 20],
      ],
    ] as const) {
      setMasks([...masks]);
      expect(await colour()).toEqual(wanted);
    }
    setMasks([0x3ff00000, 0xffc00, 0x3ff]);
    const { code, message } = await errorOf(() => decodeImage(bytes));
    expect([code, message]).toEqual(['ERR_IMAGE', expect.stringMatching(/3ff00000; expected whole bytes/)]);
    bytes.writeUInt32LE(54, 10);
    expect((await errorOf(() => decodeImage(bytes.subarray(0, 58)))).message).toMatch(/no masks/);
    bytes.writeUInt16LE(24, 28);
    expect((await errorOf(() => decodeImage(bytes))).message).toMatch(/of 24 bits/);
  });

  it('made smaller, and not larger than is allowed', async () => {
    await files.picture('large.bmp', 40, 20, () => [50, 60, 70]);
    const path = files.path('large.bmp');
    const { data, width, height } = await decodeImage(path, { maxSide: 10 });
    expect([width, height, ...data.subarray(0, 3)]).toEqual([10, 5, 50, 60, 70]);
    const { code, message } = await errorOf(() => decodeImage(path, { maxPixels: 799 }));
    expect([code, message]).toEqual(['ERR_IMAGE', expect.stringContaining('40 x 20')]);
  });

  describe('in run lengths', () => {
    const none = [
      [0, 0, 0, 0, 0],
      [0, 0, 0, 0, 0],
    ];
    /** Width 5, height 2, rows from the bottom. */
    const rle8 = (...code: number[]) => {
      const bytes = indexed(8, none);
      bytes.writeUInt32LE(1, 30);
      return Buffer.concat([bytes.subarray(0, bytes.readUInt32LE(10)), Buffer.from(code)]);
    };
    const [LINE, END, SKIP] = [
      [0, 0],
      [0, 1],
      [0, 2],
    ] as const;

    it('runs, literals, skips', async () => {
      // The lower row: one, three literals and their filler, one; the upper: skipped to its last two.
      const bytes = rle8(1, 1, 0, 3, 2, 0, 1, 99, 1, 2, ...LINE, ...SKIP, 3, 0, 2, 1, ...LINE, ...END);
      expect(await red(bytes)).toEqual([0, 0, 0, 255, 255, 255, 128, 0, 255, 128]);
      expect(await red(rle8(...SKIP, 1, 1, 1, 1, ...END))).toEqual([0, 255, 0, 0, 0, 0, 0, 0, 0, 0]);
    });

    it('refused where there is no memory for what they claim', async () => {
      const bytes = rle8(...END);
      bytes.writeInt32LE(2 ** 30, 18);
      bytes.writeInt32LE(2 ** 30, 22);
      expect(await codeOf(() => decodeImage(bytes, { maxPixels: Infinity }))).toBe('ERR_IMAGE');
    });

    it.each([
      ['without an end', rle8(5, 1, ...LINE, 5, 1)],
      ['past a row', rle8(9, 1, ...END)],
      ['past the last row', rle8(...LINE, ...LINE, 1, 1, ...END)],
      ['skipping out', rle8(...SKIP, 0, 2, 1, 1, ...END)],
      ['literals that are not there', rle8(0, 3, 1, 1)],
      ['nothing', rle8()],
    ])('refused: %s', async (_, bytes) => {
      expect(await codeOf(() => decodeImage(bytes))).toBe('ERR_IMAGE');
    });
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
      changed((bytes) => bytes.writeUInt32LE(2, 30)),
      changed((bytes) => bytes.writeUInt16LE(7, 28)),
      changed((bytes) => bytes.writeInt32LE(0, 18)),
      changed((bytes) => bytes.writeInt32LE(2 ** 30, 18)),
      changed((bytes) => bytes.writeUInt32LE(2 ** 31, 10)),
      changed((bytes) => bytes.writeUInt32LE(2 ** 31, 14)),
    ];
    for (const bytes of bad) expect(await codeOf(() => decodeImage(bytes))).toBe('ERR_IMAGE');
    const { message } = await errorOf(() => decodeImage(bad[2]!));
    expect(message).toMatch(/RLE4/);
    expect(await codeOf(() => decodeImage(files.path('none.bmp')))).toBe('ERR_FILE');
  });
});
