import { HrsamError } from '../errors.js';
import type { Pixels } from './pixels.js';

const DEPTHS = [1, 4, 8, 24, 32];
const COMPRESSIONS = ['none', 'RLE8', 'RLE4', 'bit fields', 'JPEG', 'PNG'];

/** What a bitmap is known by, whatever its file is called. */
export const isBmp = (bytes: Uint8Array): boolean => bytes[0] === 0x42 && bytes[1] === 0x4d;

/**
 * A Windows bitmap of 1, 4, 8, 24 or 32 bits per pixel as RGB, uncompressed or in run lengths of 8 bits: what GrabCut's
 * masks and some of its pictures come in, and libvips does not read. Pixels of 32 bits may have masks of whole bytes.
 * @throws HrsamError ERR_IMAGE
 */
export function decodeBmp(file: Uint8Array, where: string, maxPixels: number): Pixels {
  const bytes = Buffer.from(file.buffer, file.byteOffset, file.length);
  const fail = (what: string, expected?: unknown): never => {
    throw new HrsamError('ERR_IMAGE', `not a readable bitmap: ${what}`, { where, expected });
  };
  if (bytes.length < 54) fail('no header');
  const headerBytes = bytes.readUInt32LE(14);
  const width = bytes.readInt32LE(18);
  const signedHeight = bytes.readInt32LE(22);
  const bits = bytes.readUInt16LE(28);
  const compression = bytes.readUInt32LE(30);
  const height = Math.abs(signedHeight);
  if (width < 1 || height < 1) fail(`${width} x ${signedHeight}`);
  if (width * height > maxPixels) fail(`${width} x ${height}`, `at most ${maxPixels} pixels`);
  if (!DEPTHS.includes(bits)) fail(`${bits} bits per pixel`, DEPTHS);
  const runs = compression === 1 && bits === 8;
  if (compression !== 0 && !runs && !(compression === 3 && bits === 32))
    fail(
      `compression ${COMPRESSIONS[compression] ?? compression} of ${bits} bits`,
      'none, or RLE8 of 8 bits',
    );
  const begin = bytes.readUInt32LE(10);
  const rowBytes = Math.ceil((width * bits) / 32) * 4;
  const stored = runs ? runLengths(bytes.subarray(begin), rowBytes, height) : bytes.subarray(begin);
  if (!stored || rowBytes * height > stored.length) return fail('truncated');
  const [r, g, b] = compression === 3 ? maskedBytes(bytes, fail) : ([2, 1, 0] as const);
  const palette = 14 + headerBytes;
  const colours = Math.min(2 ** Math.min(bits, 8), Math.floor((begin - palette) / 4));
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const row = rowBytes * (signedHeight > 0 ? height - 1 - y : y);
    for (let x = 0; x < width; x++) {
      let from = stored;
      let at = row + (x * bits) / 8;
      if (bits <= 8) {
        const index = (stored[Math.floor(at)]! >> (8 - bits - ((x * bits) % 8))) & (2 ** bits - 1);
        if (index >= colours) fail(`colour ${index} of ${colours}`);
        from = bytes;
        at = palette + index * 4;
      }
      const to = (y * width + x) * 3;
      data[to] = from[at + r]!;
      data[to + 1] = from[at + g]!;
      data[to + 2] = from[at + b]!;
    }
  }
  return { data, width, height, channels: 3 };
}

/** Which byte of a pixel of 32 bits red, green and blue are, by the masks after the header. */
function maskedBytes(bytes: Buffer, fail: (what: string, expected?: string) => never) {
  if (bytes.length < 66) fail('no masks');
  const byteAt = (at: number): number => {
    const mask = bytes.readUInt32LE(at);
    const byte = [0xff, 0xff00, 0xff0000, 0xff000000].indexOf(mask);
    return byte < 0 ? fail(`a mask of ${mask.toString(16).padStart(8, '0')}`, 'whole bytes') : byte;
  };
  return [byteAt(54), byteAt(58), byteAt(62)] as const;
}

/** Rows that RLE8 stands for; undefined where it ends early or leaves them. What it skips has colour 0. */
function runLengths(code: Uint8Array, rowBytes: number, height: number): Buffer | undefined {
  const rows = Buffer.alloc(rowBytes * height);
  let [x, y] = [0, 0];
  for (let at = 0; at + 1 < code.length; ) {
    const [count, value] = [code[at++]!, code[at++]!];
    if (count > 0 || value > 2) {
      const length = count || value;
      if (y >= height || x + length > rowBytes || (count === 0 && at + length > code.length))
        return undefined;
      const to = y * rowBytes + x;
      if (count > 0) rows.fill(value, to, to + length);
      else {
        rows.set(code.subarray(at, at + length), to);
        at += length + (length % 2);
      }
      x += length;
    } else if (value === 0) [x, y] = [0, y + 1];
    else if (value === 1) return rows;
    else [x, y, at] = [x + (code[at] ?? 0), y + (code[at + 1] ?? 0), at + 2];
  }
  return undefined;
}
