import { HrsamError } from '../errors.js';
import { readRegular } from '../files.js';
import type { Pixels } from '../image/pixels.js';

const MAX_PIXELS = 2 ** 28;
const MAX_BYTES = 2 ** 30;

/**
 * An uncompressed Windows bitmap of 1, 4, 8, 24 or 32 bits per pixel as RGB: what GrabCut's masks and some of its
 * pictures come in, and libvips does not read.
 * @throws HrsamError ERR_FILE, ERR_IMAGE
 */
export async function readBmp(path: string): Promise<Pixels> {
  const bytes = await readRegular(path, MAX_BYTES);
  const fail = (what: string): never => {
    throw new HrsamError('ERR_IMAGE', `not a readable bitmap: ${what}`, { where: path });
  };
  if (bytes.length < 54 || bytes.toString('latin1', 0, 2) !== 'BM') fail('no header');
  const offset = bytes.readUInt32LE(10);
  const headerBytes = bytes.readUInt32LE(14);
  const width = bytes.readInt32LE(18);
  const signedHeight = bytes.readInt32LE(22);
  const bits = bytes.readUInt16LE(28);
  const compression = bytes.readUInt32LE(30);
  const height = Math.abs(signedHeight);
  if (width < 1 || height < 1 || width * height > MAX_PIXELS) fail(`${width} x ${signedHeight}`);
  if (![1, 4, 8, 24, 32].includes(bits)) fail(`${bits} bits per pixel`);
  // Bit fields of 32 bits are in practice the usual order.
  if (compression !== 0 && !(compression === 3 && bits === 32)) fail(`compression ${compression}`);
  const rowBytes = Math.ceil((width * bits) / 32) * 4;
  if (offset + rowBytes * height > bytes.length) fail('truncated');
  const palette = 14 + headerBytes;
  const colours = Math.min(2 ** Math.min(bits, 8), Math.floor((offset - palette) / 4));
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    const row = offset + rowBytes * (signedHeight > 0 ? height - 1 - y : y);
    for (let x = 0; x < width; x++) {
      let at = row + (x * bits) / 8;
      if (bits <= 8) {
        const index = (bytes[Math.floor(at)]! >> (8 - bits - ((x * bits) % 8))) & (2 ** bits - 1);
        if (index >= colours) fail(`colour ${index} of ${colours}`);
        at = palette + index * 4;
      }
      const to = (y * width + x) * 3;
      data[to] = bytes[at + 2]!;
      data[to + 1] = bytes[at + 1]!;
      data[to + 2] = bytes[at]!;
    }
  }
  return { data, width, height, channels: 3 };
}
