import type sharpModule from 'sharp';
import { HrsamError } from '../errors.js';

export type Sharp = typeof sharpModule;

/** sharp, loaded when the first picture is read or written: it costs more than everything else at start-up. */
export async function loadSharp(): Promise<Sharp> {
  try {
    return (await import('sharp')).default;
  } catch (cause) {
    throw new HrsamError('ERR_IMAGE', 'pictures need the package sharp, which does not load here', { cause });
  }
}
