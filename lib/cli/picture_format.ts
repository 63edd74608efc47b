import { extname } from 'node:path';
import { PICTURES } from '../data/files.js';
import { usageError } from './usage.js';

/** What a picture of this name is written as; a name that promises another format is a mistake. */
export function pictureFormat(path: string): 'png' | 'jpeg' | 'webp' {
  if (/\.jpe?g$/i.test(path)) return 'jpeg';
  if (/\.webp$/i.test(path)) return 'webp';
  if (PICTURES.test(path) && !/\.png$/i.test(path))
    usageError(`expected .png, .jpg or .webp, not ${extname(path)}`);
  return 'png';
}
