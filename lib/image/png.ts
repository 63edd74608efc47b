import { HrsamError } from '../errors.js';
import { optionsOf } from '../options.js';
import { checkMask } from './pixels.js';
import { loadSharp } from './sharp.js';

/** Options of `Mask.toPng`. */
export interface PngOptions {
  /** Bits per pixel. 1 halves the file and takes about ten times as long to write. Default 8. */
  bits?: 1 | 8;
}

const checkOptions = optionsOf<PngOptions>({ bits: true });

/**
 * A mask (height · width bytes, set where not 0) as a PNG: white on black, one byte per pixel, or one bit
 * (a two-colour palette; about ten times slower to write, half the size).
 */
export async function maskToPng(
  mask: Uint8Array,
  height: number,
  width: number,
  options: PngOptions = {},
): Promise<Buffer> {
  checkOptions(options, 'toPng');
  const { bits = 8 } = options;
  checkMask(mask, height, width);
  if (mask.length === 0) {
    throw new HrsamError('ERR_SHAPE', 'an empty mask is no picture', {
      where: 'mask',
      actual: [height, width],
    });
  }
  if (bits !== 1 && bits !== 8) {
    throw new HrsamError('ERR_ARGUMENT', 'unsupported depth of a mask', {
      expected: '1 or 8 bits',
      actual: bits,
    });
  }
  const sharp = await loadSharp();
  return sharp(mask, { raw: { width, height, channels: 1 }, limitInputPixels: false })
    .threshold(1)
    .toColourspace('b-w')
    .png(bits === 1 ? { palette: true, colours: 2, dither: 0 } : {})
    .toBuffer();
}
