import { basename, extname } from 'node:path';
import { HrsamError } from '../../errors.js';
import { decodeImage } from '../../image/decode.js';
import type { Pixels } from '../../image/pixels.js';
import type { Rle } from '../../image/rle.js';

/** What an object is judged by. */
export interface ObjectMask {
  mask: Rle;
  /** Pixels that nobody decided about: neither right nor wrong. */
  ignore?: Rle;
}

/** An object of a picture, read when it is asked for: one that is corrupt costs only itself. */
export interface LabelledObject {
  name: string;
  /** Of sets whose categories have numbers. */
  category?: number;
  read(): Promise<ObjectMask>;
}

export interface LabelledPicture {
  /** Unique in its set; with an extension where it is a file's name. */
  name: string;
  /** Of sets whose pictures have numbers. */
  id?: number;
  read(): Promise<Pixels>;
  objects(): Promise<LabelledObject[]>;
}

export interface DataSet {
  format: string;
  pictures: LabelledPicture[];
}

export interface OpenOptions {
  /** Part of the set, as its folders or lists call it: val, test, val2017, … Default: what is usually judged. */
  split?: string;
}

export const stem = (path: string): string => basename(path, extname(path));

/** A picture file whose annotations say its size; where only the picture as stored has it, they were made without EXIF data. */
export async function readAnnotated(path: string, height: number, width: number): Promise<Pixels> {
  const pixels = await decodeImage(path);
  const turned = pixels.height === width && pixels.width === height && height !== width;
  return turned ? decodeImage(path, { asStored: true }) : pixels;
}

/** @throws HrsamError ERR_FILE: what was looked for is not there */
export function notThere(root: string, format: string, expected: string): never {
  throw new HrsamError('ERR_FILE', `not a data set in the layout of ${format}`, { where: root, expected });
}

/** An entry that is there and cannot be judged. */
export function unreadable(name: string, where: string, summary: string): LabelledPicture {
  const read = async () => corrupt(where, summary);
  return { name, read, objects: read };
}

/** @throws HrsamError ERR_IMAGE: an entry that cannot be used */
export function corrupt(where: string, summary: string, expected?: unknown, actual?: unknown): never {
  throw new HrsamError('ERR_IMAGE', summary, { where, expected, actual });
}
