import { HrsamError } from '../../errors.js';
import { readRegular } from '../../files.js';
import { DEFAULT_LIMITS } from '../../image/decode.js';
import { brightest, inside } from '../../image/mask_picture.js';
import type { Rle } from '../../image/rle.js';
import { loadSharp } from '../../image/sharp.js';
import { readBmp } from './bmp.js';

/** Labels as a picture stores them, unchanged: 8 or 16 bits, palettes looked up. */
export interface LabelImage {
  data: Uint8Array | Uint16Array;
  height: number;
  width: number;
  channels: number;
}

/** @throws HrsamError ERR_FILE, ERR_IMAGE */
export async function readLabels(path: string): Promise<LabelImage> {
  if (/\.bmp$/i.test(path)) return readBmp(path);
  const bytes = await readRegular(path, DEFAULT_LIMITS.maxBytes);
  const sharp = await loadSharp();
  try {
    const picture = sharp(bytes, {
      failOn: 'truncated',
      ignoreIcc: true,
      limitInputPixels: DEFAULT_LIMITS.maxPixels,
    });
    const { depth, channels: stored } = await picture.metadata();
    const deep = depth === 'ushort' && stored === 1;
    // Left to itself, sharp makes colours of grey.
    const kept =
      stored <= 2 ? picture.removeAlpha().toColourspace(deep ? 'grey16' : 'b-w') : picture.removeAlpha();
    const raw = kept.raw({ depth: deep ? 'ushort' : 'uchar' });
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

/** Run lengths of each label of a map, `label(i)` being that of pixel i in row order; 0 is no region. */
export function regions(height: number, width: number, label: (i: number) => number): Map<number, Rle> {
  const found = new Map<number, { counts: number[]; end: number }>();
  let [current, begin] = [0, 0];
  const close = (end: number) => {
    if (current === 0) return;
    let region = found.get(current);
    if (!region) {
      region = { counts: [], end: 0 };
      found.set(current, region);
    }
    region.counts.push(begin - region.end, end - begin);
    region.end = end;
  };
  let at = 0;
  for (let x = 0; x < width; x++) {
    for (let i = x; i < height * width; i += width, at++) {
      const value = label(i);
      if (value === current) continue;
      close(at);
      [current, begin] = [value, at];
    }
  }
  close(at);
  return new Map(
    [...found].map(([value, { counts, end }]) => {
      if (end < at) counts.push(at - end);
      return [value, { size: [height, width], counts }];
    }),
  );
}

/** The mask that a picture shows: where `test` holds of its brightest channel. */
export function binaryMask(image: LabelImage, test = inside(image)): Rle {
  const value = brightest(image);
  const { height, width } = image;
  const mask = regions(height, width, (i) => (test(value(i)) ? 1 : 0)).get(1);
  return mask ?? { size: [height, width], counts: [height * width] };
}
