import { HrsamError } from '../errors.js';
import { isWhole } from '../whole.js';
import { checkMask } from './pixels.js';

/** A mask as COCO run lengths: column by column, zeros first (0 if the first pixel is set). */
export interface Rle {
  /** [height, width] */
  size: [number, number];
  /** Pixels outside, inside, outside, …: together height · width. */
  counts: number[];
}

/** The same with pycocotools' text form of the counts. */
export interface CompressedRle {
  /** [height, width] */
  size: [number, number];
  /** As `compressRle` writes them. */
  counts: string;
}

/** x0, y0, x1, y1: edges in pixels, the last two behind the last pixels. */
export type Box = readonly [number, number, number, number];

/** Largest mask that is decoded: a hostile size must not end in an allocation of terabytes. */
const MAX_PIXELS = 2 ** 31;

/** Run lengths of a mask: height · width bytes, row-major, set where they are `value`, or not 0. Native code does the same faster. */
export function encodeRle(mask: Uint8Array, height: number, width: number, value?: number): Rle {
  checkMask(mask, height, width);
  const compared = value ?? 0;
  const wanted = value !== undefined;
  const counts: number[] = [];
  let inside = false;
  let run = 0;
  for (let x = 0; x < width; x++) {
    for (let i = x; i < mask.length; i += width) {
      if (((mask[i] === compared) === wanted) !== inside) {
        counts.push(run);
        inside = !inside;
        run = 0;
      }
      run++;
    }
  }
  if (run > 0 || counts.length > 0) counts.push(run);
  return { size: [height, width], counts };
}

/**
 * The mask of some run lengths: height · width bytes, 0 or 1, row-major.
 * @throws HrsamError ERR_ARGUMENT when the counts are no whole numbers from 0 or do not add up to the size.
 */
export function decodeRle(rle: Rle): Uint8Array {
  checkRle(rle);
  const [height, width] = rle.size;
  const mask = new Uint8Array(height * width);
  eachRun(rle, (begin, end) => {
    let y = begin % height;
    let at = y * width + Math.floor(begin / height);
    for (let i = begin; i < end; i++) {
      mask[at] = 1;
      if (++y < height) at += width;
      else {
        y = 0;
        at += 1 - (height - 1) * width;
      }
    }
  });
  return mask;
}

/** Number of set pixels. */
export function rleArea(rle: Rle): number {
  let area = 0;
  eachRun(rle, (begin, end) => {
    area += end - begin;
  });
  return area;
}

/** [x0, y0, x1, y1], both corners inside the mask, as SAM counts; all 0 for an empty mask. */
export function rleBox(rle: Rle): [number, number, number, number] {
  const [height, width] = rle.size;
  let [x0, y0, x1, y1] = [width, height, -1, -1];
  eachRun(rle, (begin, end) => {
    if (begin === end) return;
    const first = Math.floor(begin / height);
    const last = Math.floor((end - 1) / height);
    x0 = Math.min(x0, first);
    x1 = Math.max(x1, last);
    // A run that goes on in the next column holds the last row of one and the first of the other.
    y0 = Math.min(y0, first === last ? begin % height : 0);
    y1 = Math.max(y1, first === last ? (end - 1) % height : height - 1);
  });
  return x1 < 0 ? [0, 0, 0, 0] : [x0, y0, x1, y1];
}

/** The mask of a part of a picture as one of the picture, of [height, width]: around the part nothing is set. */
export function placeRle(part: Rle, size: readonly [number, number], left: number, top: number): Rle {
  const [rows] = part.size;
  const [height, width] = size;
  const counts: number[] = [];
  let at = 0;
  eachRun(part, (begin, end) => {
    for (let from = begin; from < end; ) {
      const column = Math.floor(from / rows);
      const to = Math.min(end, (column + 1) * rows);
      const start = (left + column) * height + top + (from - column * rows);
      if (start === at && counts.length > 0) counts[counts.length - 1]! += to - from;
      else counts.push(start - at, to - from);
      at = start + to - from;
      from = to;
    }
  });
  if (at < height * width) counts.push(height * width - at);
  return { size: [height, width], counts };
}

/** The box that encloses a mask. */
export function boxOf(mask: Rle): Box {
  const [x0, y0, x1, y1] = rleBox(mask);
  return [x0, y0, x1 + 1, y1 + 1];
}

/**
 * The text form of pycocotools (`rleToString`): from the fourth on, a count is written as its difference to the last
 * but one; five bits per character from the lowest on, 32 marks that more follow, and 48 is added.
 */
export function compressRle(rle: Rle): CompressedRle {
  checkRle(rle);
  let text = '';
  rle.counts.forEach((count, i) => {
    let value = i > 2 ? count - rle.counts[i - 2]! : count;
    for (let more = true; more; ) {
      const low = ((value % 32) + 32) % 32;
      value = Math.floor(value / 32);
      more = (low & 16) === 0 ? value !== 0 : value !== -1;
      text += String.fromCharCode(low + (more ? 32 : 0) + 48);
    }
  });
  return { size: rle.size, counts: text };
}

/**
 * The inverse of compressRle.
 * @throws HrsamError ERR_ARGUMENT for text that is none, or whose counts do not add up to the size.
 */
export function decompressRle(rle: CompressedRle): Rle {
  if (typeof rle?.counts !== 'string') {
    throw new HrsamError('ERR_ARGUMENT', 'not a COCO run-length text', {
      where: 'counts',
      expected: 'a string',
    });
  }
  const counts: number[] = [];
  for (let at = 0; at < rle.counts.length; ) {
    let value = 0;
    for (let weight = 1; ; weight *= 32) {
      const code = rle.counts.charCodeAt(at++) - 48;
      // NaN, past the end, fails the comparison too. 32^7 is beyond any mask.
      if (!(code >= 0 && code < 64) || weight > 32 ** 7) {
        throw new HrsamError('ERR_ARGUMENT', 'not a COCO run-length text', {
          where: `counts, character ${at - 1}`,
        });
      }
      value += (code & 31) * weight;
      if ((code & 32) !== 0) continue;
      if ((code & 16) !== 0) value -= weight * 32;
      break;
    }
    counts.push(counts.length > 2 ? value + counts[counts.length - 2]! : value);
  }
  const plain: Rle = { size: rle.size, counts };
  checkRle(plain);
  return plain;
}

/** Calls visit for each run of set pixels, as positions in column order. */
function eachRun(rle: Rle, visit: (begin: number, end: number) => void): void {
  let at = 0;
  rle.counts.forEach((count, i) => {
    if (i % 2 === 1) visit(at, at + count);
    at += count;
  });
}

/** @throws HrsamError ERR_ARGUMENT for run lengths that are none, or do not add up to the size. */
export function checkRle(rle: Rle): void {
  const { size, counts } = rle ?? {};
  if (!Array.isArray(counts) || !Array.isArray(size)) {
    throw new HrsamError('ERR_ARGUMENT', 'not run lengths', {
      where: 'RLE',
      expected: '{ size: [height, width], counts: […] }; for text decompressRle()',
    });
  }
  const [height, width] = size;
  if (!isWhole(height, 0) || !isWhole(width, 0) || height * width > MAX_PIXELS) {
    throw new HrsamError('ERR_ARGUMENT', 'not the size of a mask', { where: 'RLE', actual: size });
  }
  let sum = 0;
  counts.forEach((count, i) => {
    if (!isWhole(count, 0)) {
      throw new HrsamError('ERR_ARGUMENT', 'run lengths are whole numbers from 0', {
        where: `RLE, count ${i}`,
        actual: count,
      });
    }
    sum += count;
  });
  if (sum !== height * width) {
    throw new HrsamError('ERR_ARGUMENT', 'the run lengths do not add up', {
      where: 'RLE',
      expected: `${height} x ${width} = ${height * width}`,
      actual: sum,
    });
  }
}
