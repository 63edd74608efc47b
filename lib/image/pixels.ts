import { HrsamError } from '../errors.js';
import { isWhole } from '../whole.js';

/** A picture in memory: rows from the top, pixels from the left, channels interleaved, 8 bits each. */
export interface Pixels {
  /** height · width · channels bytes. While the picture is encoded they are read, more than once: they must not change. */
  readonly data: Uint8Array;
  /** Pixels. */
  readonly width: number;
  /** Pixels. */
  readonly height: number;
  /** 1: grey, 3: RGB, 4: RGBA (alpha is ignored everywhere). */
  readonly channels: 1 | 3 | 4;
}

/** The same as it is given: canvases hold theirs clamped. */
export interface GivenPixels extends Omit<Pixels, 'data'> {
  /** height · width · channels bytes, as `Pixels` has them. */
  readonly data: Uint8Array | Uint8ClampedArray;
}

const isBytes = (value: unknown): value is Uint8Array | Uint8ClampedArray =>
  value instanceof Uint8Array || value instanceof Uint8ClampedArray;

/**
 * Checks a picture that came from outside.
 * @throws HrsamError ERR_IMAGE when its parts do not fit together.
 */
export function checkPixels(pixels: { [key in keyof Pixels]?: unknown }, where = 'pixels'): Pixels {
  const { data, width, height, channels } = pixels ?? {};
  if (!isBytes(data)) {
    throw new HrsamError('ERR_IMAGE', 'data of the wrong type', {
      where,
      expected: 'a Uint8Array or Uint8ClampedArray',
      actual: data,
    });
  }
  if (!isWhole(width, 1) || !isWhole(height, 1)) {
    throw new HrsamError('ERR_IMAGE', 'width and height of a picture are whole numbers from 1', {
      where,
      actual: [width, height],
    });
  }
  if (channels !== 1 && channels !== 3 && channels !== 4) {
    throw new HrsamError('ERR_IMAGE', 'unsupported number of channels', {
      where,
      expected: '1 (grey), 3 (RGB) or 4 (RGBA)',
      actual: channels,
    });
  }
  if (data.length !== width * height * channels) {
    throw new HrsamError('ERR_IMAGE', `data does not fit ${width} x ${height} x ${channels}`, {
      where,
      expected: `${width * height * channels} bytes`,
      actual: data.length,
    });
  }
  return { data: new Uint8Array(data.buffer, data.byteOffset, data.length), width, height, channels };
}

/**
 * Checks that a mask has one byte per pixel.
 * @throws HrsamError ERR_SHAPE
 */
export function checkMask(mask: Uint8Array, height: number, width: number, where = 'mask'): void {
  if (!isWhole(height, 0) || !isWhole(width, 0)) {
    throw new HrsamError('ERR_SHAPE', 'height and width are whole numbers from 0', {
      where,
      actual: [height, width],
    });
  }
  if (mask?.length !== height * width) {
    throw new HrsamError('ERR_SHAPE', `not a mask of ${height} x ${width}`, {
      where,
      expected: `${height * width} bytes`,
      actual: mask?.length,
    });
  }
}
