import { HrsamError } from '../errors.js';
import { readRegular } from '../files.js';
import { DEFAULT_LIMITS, type DecodeLimits, decodeImage } from '../image/decode.js';
import type { MaskPicture } from '../image/mask_picture.js';
import type { Pixels } from '../image/pixels.js';
import { loadSharp } from '../image/sharp.js';
import { readBmp } from './bmp.js';

/** Labels as a picture stores them, unchanged: 8 or 16 bits, palettes looked up. */
export interface LabelImage extends MaskPicture {
  height: number;
  width: number;
}

const BMP = /\.bmp$/i;

/** A picture file: what sharp reads, and BMP, which sharp's builds do not. @throws HrsamError ERR_FILE, ERR_IMAGE */
export async function readPicture(
  path: string,
  limits: Pick<DecodeLimits, 'asStored' | 'maxSide'> = {},
): Promise<Pixels> {
  if (!BMP.test(path)) return decodeImage(path, limits);
  return (await readLabels(path, limits.maxSide)) as Pixels;
}

/**
 * @param maxSide longest side of the result: larger ones are shrunk, after which numbers mean nothing and masks still do
 * @throws HrsamError ERR_FILE, ERR_IMAGE
 */
export async function readLabels(path: string, maxSide = Number.POSITIVE_INFINITY): Promise<LabelImage> {
  const bitmap = BMP.test(path) ? await readBmp(path) : undefined;
  if (bitmap && Math.max(bitmap.width, bitmap.height) <= maxSide) return bitmap;
  const limits = {
    // Anything less makes labels up where a TIFF is damaged.
    failOn: 'error',
    ignoreIcc: true,
    autoOrient: true,
    limitInputPixels: DEFAULT_LIMITS.maxPixels,
  } as const;
  const sharp = await loadSharp();
  try {
    const picture = bitmap
      ? sharp(bitmap.data, { ...limits, raw: bitmap })
      : sharp(await readRegular(path, DEFAULT_LIMITS.maxBytes), limits);
    const { depth, channels: stored, width: w, height: h } = await picture.metadata();
    const deep = depth === 'ushort';
    // Lanczos goes beyond what is white, and 16 bits have room for it where white is 255.
    const kernel = deep ? 'linear' : 'lanczos3';
    if (Math.max(w, h) > maxSide) picture.resize({ width: maxSide, height: maxSide, fit: 'inside', kernel });
    // Left to itself, sharp makes colours of grey.
    const space = stored <= 2 ? (deep ? 'grey16' : 'b-w') : deep ? 'rgb16' : 'srgb';
    const raw = picture
      .removeAlpha()
      .toColourspace(space)
      .raw({ depth: deep ? 'ushort' : 'uchar' });
    const { data, info } = await raw.toBuffer({ resolveWithObject: true });
    const { height, width, channels } = info;
    const values = deep
      ? new Uint16Array(data.buffer, data.byteOffset, data.length / 2)
      : new Uint8Array(data.buffer, data.byteOffset, data.length);
    return { data: values, height, width, channels };
  } catch (cause) {
    if (cause instanceof HrsamError) throw cause;
    const reason = (cause as Error).message.split('\n', 1)[0];
    throw new HrsamError('ERR_IMAGE', `not a readable picture: ${reason}`, { where: path, cause });
  }
}
