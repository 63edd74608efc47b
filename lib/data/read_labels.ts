import { HrsamError } from '../errors.js';
import { readRegular } from '../files.js';
import { DEFAULT_LIMITS, opener } from '../image/decode.js';
import type { MaskPicture } from '../image/mask_picture.js';

/** Labels as a picture stores them, unchanged: 8, 16 or, of grey, 32 bits, palettes looked up. */
export interface LabelImage extends MaskPicture {
  height: number;
  width: number;
}

/** What keeps a type of values, by libvips' names, and the spaces in which grey and colours stay what they are. */
const KEPT = {
  uchar: { depth: 'uchar', array: Uint8Array, grey: 'b-w', colour: 'srgb' },
  ushort: { depth: 'ushort', array: Uint16Array, grey: 'grey16', colour: 'rgb16' },
  uint: { depth: 'uint', array: Uint32Array, grey: 'b-w', colour: undefined },
} as const;
/** No label is negative. */
const UNSIGNED: Record<string, keyof typeof KEPT> = { char: 'uchar', short: 'ushort', int: 'uint' };

/**
 * @param maxSide longest side of the result: larger ones are shrunk, after which numbers mean nothing and masks still do
 * @throws HrsamError ERR_FILE, ERR_IMAGE
 */
export async function readLabels(path: string, maxSide = Number.POSITIVE_INFINITY): Promise<LabelImage> {
  const { maxBytes, maxPixels } = DEFAULT_LIMITS;
  const bytes = await readRegular(path, maxBytes);
  try {
    const open = await opener(bytes, path, maxPixels);
    const picture = open({ autoOrient: true, limitInputPixels: maxPixels });
    const { depth: found, channels: stored, width: w, height: h } = await picture.metadata();
    const kept = KEPT[(UNSIGNED[found] ?? found) as keyof typeof KEPT];
    // Left to itself, sharp makes colours of grey.
    const space = stored <= 2 ? kept?.grey : kept?.colour;
    if (!space) {
      throw new HrsamError('ERR_IMAGE', 'no labels', {
        where: path,
        expected: 'whole numbers of 8 or 16 bits or, of one channel, 32',
        actual: `${found}, ${stored} channels`,
      });
    }
    // Lanczos goes beyond what is white, and more than 8 bits have room for it where white is 255.
    const kernel = kept.depth === 'uchar' ? 'lanczos3' : 'linear';
    if (Math.max(w, h) > maxSide) picture.resize({ width: maxSide, height: maxSide, fit: 'inside', kernel });
    const raw = picture.removeAlpha().toColourspace(space).raw({ depth: kept.depth });
    const { data, info } = await raw.toBuffer({ resolveWithObject: true });
    const { height, width, channels } = info;
    const count = data.length / kept.array.BYTES_PER_ELEMENT;
    return { data: new kept.array(data.buffer, data.byteOffset, count), height, width, channels };
  } catch (cause) {
    if (cause instanceof HrsamError) throw cause;
    const reason = (cause as Error).message.split('\n', 1)[0];
    throw new HrsamError('ERR_IMAGE', `not a readable picture: ${reason}`, { where: path, cause });
  }
}
