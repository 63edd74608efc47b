import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  compressRle,
  decodeRle,
  decompressRle,
  encodeRle,
  placeRle,
  rleArea,
  rleBox,
} from '../../lib/image/rle.js';
import { readJson } from '../support/reference.js';

interface ReferenceMask {
  name: string;
  size: [number, number];
  counts: number[];
  area: number;
  coco_counts: string;
  box_xyxy: [number, number, number, number];
  rows: string[] | null;
}
const reference = readJson('sam/amg_ops/case.json');
const masks: ReferenceMask[] = reference.masks;
const maskOf = (rows: string[]) => Uint8Array.from(rows.join(''), (pixel) => (pixel === '#' ? 1 : 0));

const argumentError = expect.objectContaining({ name: 'HrsamError', code: 'ERR_ARGUMENT' });

describe.each(masks)('the reference mask "$name"', ({ size, counts, area, coco_counts, box_xyxy, rows }) => {
  it('is encoded and decoded', () => {
    const mask = rows === null || rows === undefined ? decodeRle({ size, counts }) : maskOf(rows);
    expect(encodeRle(mask, ...size)).toEqual({ size, counts });
    expect(decodeRle({ size, counts })).toEqual(mask);
  });

  it('has its area and box', () => {
    expect(rleArea({ size, counts })).toBe(area);
    expect(rleBox({ size, counts })).toEqual(box_xyxy);
  });

  it('has the text of pycocotools', () => {
    expect(compressRle({ size, counts })).toEqual({ size, counts: coco_counts });
    expect(decompressRle({ size, counts: coco_counts })).toEqual({ size, counts });
  });
});

describe('run lengths of one value', () => {
  it('are those of the mask of that value', () => {
    const labels = fc.uint8Array({ minLength: 12, maxLength: 12 }).map((bytes) => bytes.map((b) => b % 3));
    fc.assert(
      fc.property(labels, fc.constantFrom(0, 1, 2), (mask, value) => {
        const where = mask.map((label) => (label === value ? 1 : 0));
        expect(encodeRle(mask, 3, 4, value)).toEqual(encodeRle(where, 3, 4));
      }),
    );
  });
});

describe('run lengths of a part', () => {
  it('become those of the picture', () => {
    const side = fc.integer({ min: 1, max: 9 });
    const margins = fc.tuple(...Array.from({ length: 4 }, () => fc.integer({ min: 0, max: 3 })));
    fc.assert(
      fc.property(side, side, margins, fc.infiniteStream(fc.boolean()), (h, w, margin, pixels) => {
        const [left, top, right, bottom] = margin as [number, number, number, number];
        const [height, width] = [top + h + bottom, left + w + right];
        const part = Uint8Array.from({ length: h * w }, () => Number(pixels.next().value));
        const whole = new Uint8Array(height * width);
        part.forEach((pixel, i) => {
          whole[(top + Math.floor(i / w)) * width + left + (i % w)] = pixel;
        });
        const placed = placeRle(encodeRle(part, h, w), [height, width], left, top);
        expect(placed).toEqual(encodeRle(whole, height, width));
      }),
    );
  });
});

describe('run lengths as text', () => {
  it.each([...reference.coco_rle_large, ...reference.coco_rle_edge])('are those of $coco_counts', (each) => {
    const { size, counts, coco_counts } = each;
    expect(compressRle({ size, counts }).counts).toBe(coco_counts);
    expect(decompressRle({ size, counts: coco_counts })).toEqual({ size, counts });
  });

  it('survive the way there and back for any mask', () => {
    const anyMask = fc
      .tuple(fc.integer({ min: 1, max: 40 }), fc.integer({ min: 1, max: 40 }))
      .chain(([h, w]) =>
        fc
          .uint8Array({ minLength: h * w, maxLength: h * w, max: 1 })
          .map((mask) => ({ mask, height: h, width: w })),
      );
    fc.assert(
      fc.property(anyMask, ({ mask, height, width }) => {
        const rle = encodeRle(mask, height, width);
        expect(decompressRle(compressRle(rle))).toEqual(rle);
        expect(decodeRle(rle)).toEqual(mask);
        expect(rleArea(rle)).toBe(mask.reduce((sum, pixel) => sum + pixel, 0));
      }),
    );
  });

  it('end in a typed error or a mask, whatever the text', () => {
    fc.assert(
      fc.property(fc.string(), fc.nat(50), (counts, side) => {
        try {
          const rle = decompressRle({ size: [side, 3], counts });
          expect(rle.counts.reduce((sum, count) => sum + count, 0)).toBe(side * 3);
        } catch (error) {
          expect(error).toMatchObject({ code: 'ERR_ARGUMENT' });
        }
      }),
    );
  });
});

describe('hostile run lengths', () => {
  it.each([
    ['too few', [4, 3], [5]],
    ['too many', [4, 3], [5, 8]],
    ['negative', [4, 3], [14, -2]],
    ['not whole', [2, 2], [1.5, 2.5]],
    ['not numbers', [2, 2], [Number.NaN, 4]],
    ['a huge mask', [2 ** 26, 2 ** 26], [2 ** 52]],
    ['a negative size', [-2, -2], [4]],
  ] as [string, [number, number], number[]][])('%s', (_, size, counts) => {
    expect(() => decodeRle({ size, counts })).toThrow(argumentError);
    expect(() => compressRle({ size, counts })).toThrow(argumentError);
  });

  it.each(['P', 'PPPPPPPPPPPPPPPP0', '\u0000', 'é', '  '])('%j as text', (counts) => {
    expect(() => decompressRle({ size: [4, 4], counts })).toThrow(argumentError);
  });

  it('null', () => {
    for (const read of [decodeRle, compressRle, decompressRle])
      expect(() => read(null as never)).toThrow(argumentError);
  });

  it('says when a mask does not have its size', () => {
    for (const [height, width] of [
      [3, 4],
      [5.5, 2],
      [-11, -1],
    ] as const)
      expect(() => encodeRle(new Uint8Array(11), height, width)).toThrow(
        expect.objectContaining({ name: 'HrsamError', code: 'ERR_SHAPE' }),
      );
  });
});
