import { HrsamError } from '../../errors.js';
import type { Pixels } from '../../image/pixels.js';
import type { Box } from '../../image/rle.js';
import { addon, pooled } from '../../runtime/addon.js';

export interface SceneOptions {
  /** A whole number from 0: the same picture for the same seed, on every machine. */
  seed: number;
  /** Pixels, from 16; width · height at most 2²⁶. */
  width: number;
  height: number;
  /** Objects drawn, at most 64; default: 5 to 16, as the seed has it. Those hidden by others have no mask. */
  objects?: number;
}

export interface Scene {
  /** RGB. */
  pixels: Pixels;
  /** Visible part of each object, height · width bytes, 1 where at least half of the pixel is the object. */
  masks: Uint8Array[];
  /** Of each mask. */
  boxes: Box[];
  /** Pixels set of each mask; at least 1. */
  areas: number[];
}

/**
 * A cluttered collage of textured things (people, animals, plants, vessels, furniture, nets, letters, wires, …) with
 * occlusion, shadows, uneven light, blur and noise, and the exact mask of each object. Lines go down to one pixel at
 * any resolution. Works on Node's thread pool.
 *
 * @throws HrsamError ERR_ARGUMENT
 */
export async function generateScene(options: SceneOptions): Promise<Scene> {
  const { seed, width, height, objects = 0 } = options;
  for (const [where, value] of Object.entries({ seed, width, height, objects })) {
    if (Number.isSafeInteger(value) && value >= 0) continue;
    throw new HrsamError('ERR_ARGUMENT', 'not usable', {
      where,
      expected: 'a whole number from 0',
      actual: value,
    });
  }
  const { rgb, ...objectsSeen } = await pooled(() => addon().generateScene(seed, width, height, objects));
  return { pixels: { data: rgb, width, height, channels: 3 }, ...objectsSeen };
}
