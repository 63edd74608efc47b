import { fileURLToPath } from 'node:url';
import type { SharpOptions } from 'sharp';
import { HrsamError } from '../errors.js';
import { readRegular } from '../files.js';
import { optionsOf } from '../options.js';
import { decodeBmp, isBmp } from './bmp.js';
import { checkPixels, type GivenPixels, type Pixels } from './pixels.js';
import { loadSharp } from './sharp.js';

/** A file's path or `file:` URL, an encoded picture (JPEG, PNG, WebP, TIFF, GIF, AVIF, BMP), or pixels. */
export type ImageSource = string | URL | Uint8Array | ArrayBuffer | GivenPixels;

/** What `decodeImage` accepts, and how it reads it. */
export interface DecodeLimits {
  /** Most pixels (width · height) that are accepted. Default 268,402,689 (16,383²). */
  maxPixels?: number;
  /** Largest file that is read, in bytes. Default 2³⁰. */
  maxBytes?: number;
  /** Longest side of the result: larger pictures are shrunk while they are decoded. Default: as they are. */
  maxSide?: number;
  /** Whether the orientation in EXIF data is ignored. Default false. */
  asStored?: boolean;
}

const checkOptions = optionsOf<DecodeLimits>({
  maxPixels: true,
  maxBytes: true,
  maxSide: true,
  asStored: true,
});

function checkLimits(limits: DecodeLimits): void {
  checkOptions(limits, 'decodeImage');
  const { asStored, ...numbers } = limits;
  const fail = (name: string, expected: string, actual: unknown) => {
    throw new HrsamError('ERR_ARGUMENT', name, { where: 'decodeImage', expected, actual });
  };
  for (const [name, limit] of Object.entries(numbers)) {
    const good = limit === undefined || limit === Infinity || (Number.isInteger(limit) && limit >= 1);
    if (!good) fail(name, 'a whole number from 1', limit);
  }
  if (asStored !== undefined && typeof asStored !== 'boolean') fail('asStored', 'true or false', asStored);
}

/** Of pictures that come from anywhere: libvips' own limit, and a gigabyte of file. */
export const DEFAULT_LIMITS = { maxPixels: 0x3fff * 0x3fff, maxBytes: 2 ** 30 };

/** Formats that describe drawings: their size in pixels is arbitrary. */
const VECTOR_FORMATS = new Set(['svg', 'pdf']);

/**
 * Reads a picture as 8-bit RGB, as Pillow's `convert('RGB')` does: alpha is dropped (of a GIF, what is
 * transparent is black), palettes are looked up, grey is repeated, 16 bits are cut to the upper 8, colour profiles are ignored (CMYK has libvips' own). The orientation in EXIF data is applied, and
 * of an animation the first frame is taken. Pixels are checked and passed on as they are.
 *
 * @throws HrsamError ERR_FILE when the file cannot be read, ERR_IMAGE when it is no picture, truncated or too large,
 * ERR_ARGUMENT for a source of another type.
 */
export async function decodeImage(source: ImageSource, limits: DecodeLimits = {}): Promise<Pixels> {
  checkLimits(limits);
  const { maxPixels = DEFAULT_LIMITS.maxPixels, maxBytes = DEFAULT_LIMITS.maxBytes } = limits;
  if (typeof source === 'string' || source instanceof URL) {
    const path = filePath(source);
    // Read here and not by libvips, which would interpret options in the name and keep the picture cached by name.
    return decodeBytes(await readRegular(path, maxBytes, 'ERR_IMAGE'), path, limits);
  }
  if (source instanceof Uint8Array) return decodeBytes(source, 'picture', limits);
  if (source instanceof ArrayBuffer) return decodeBytes(new Uint8Array(source), 'picture', limits);
  if (source !== null && typeof source === 'object' && 'data' in source) {
    const pixels = checkPixels(source);
    checkSize(pixels.width, pixels.height, maxPixels, 'pixels');
    return pixels;
  }
  throw new HrsamError('ERR_ARGUMENT', 'not a picture', {
    expected:
      'a path, a Buffer, Uint8Array or ArrayBuffer of an encoded picture, or { data, width, height, channels }',
    actual: source,
  });
}

function filePath(source: string | URL): string {
  if (typeof source === 'string') return source;
  const fail = (summary: string, expected: string, cause?: unknown): never => {
    throw new HrsamError('ERR_ARGUMENT', summary, { where: source.href, expected, cause });
  };
  if (source.protocol !== 'file:') return fail('pictures are not fetched', 'a path or a file: URL');
  try {
    return fileURLToPath(source);
  } catch (cause) {
    return fail('no file of this machine', 'file:///…', cause);
  }
}

async function decodeBytes(
  bytes: Uint8Array,
  where: string,
  { maxPixels = DEFAULT_LIMITS.maxPixels, maxSide, asStored = false }: DecodeLimits,
): Promise<Pixels> {
  if (bytes.length === 0) throw new HrsamError('ERR_IMAGE', 'the picture is empty (0 bytes)', { where });
  const options = { autoOrient: !asStored, limitInputPixels: false };
  try {
    const open = await opener(bytes, where, maxPixels);
    const { format, width, height } = await open(options).metadata();
    if (VECTOR_FORMATS.has(format)) {
      throw new HrsamError('ERR_IMAGE', `a drawing (${format}) has no pixels: convert it first`, { where });
    }
    checkSize(width, height, maxPixels, where);
    const decoding = open(options);
    if (maxSide !== undefined && Math.max(width, height) > maxSide)
      decoding.resize({ width: maxSide, height: maxSide, fit: 'inside' });
    const { data, info } = await decoding
      .removeAlpha()
      .toColourspace('srgb')
      .raw({ depth: 'uchar' })
      .toBuffer({ resolveWithObject: true });
    return checkPixels({ data, width: info.width, height: info.height, channels: info.channels as 3 }, where);
  } catch (cause) {
    if (cause instanceof HrsamError) throw cause;
    const reason = (cause as Error).message.split('\n', 1)[0];
    throw new HrsamError('ERR_IMAGE', `not a readable picture: ${reason}`, { where, cause });
  }
}

/**
 * Opens the bytes of a picture in sharp; a bitmap, which its builds do not read, as the pixels it holds.
 * @throws HrsamError ERR_IMAGE for a bitmap that cannot be read
 */
export async function opener(bytes: Uint8Array, where: string, maxPixels: number) {
  const bitmap = isBmp(bytes) ? decodeBmp(bytes, where, maxPixels) : undefined;
  const sharp = await loadSharp();
  return (options: SharpOptions) =>
    sharp(bitmap?.data ?? bytes, {
      // Beyond what is cut short: damage that a decoder repairs with noise.
      failOn: 'error',
      ignoreIcc: true,
      ...(bitmap && { raw: bitmap }),
      ...options,
    });
}

function checkSize(width: number, height: number, maxPixels: number, where: string): void {
  if (width * height <= maxPixels) return;
  throw new HrsamError('ERR_IMAGE', 'the picture is too large', {
    where,
    expected: `at most ${maxPixels} pixels`,
    actual: `${width} x ${height}`,
  });
}
