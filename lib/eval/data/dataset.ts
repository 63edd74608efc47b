import { readdir, stat } from 'node:fs/promises';
import { basename, extname, join } from 'node:path';
import { HrsamError } from '../../errors.js';
import { decodeImage } from '../../image/decode.js';
import type { Pixels } from '../../image/pixels.js';
import type { Rle } from '../../image/rle.js';
import { readBmp } from './bmp.js';

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

export const PICTURES = /\.(jpe?g|png|webp|tiff?|bmp)$/i;
export const MASKS = /\.(png|bmp|tiff?|webp)$/i;

export const exists = (path: string): Promise<boolean> =>
  stat(path).then(
    () => true,
    () => false,
  );

export const isFolder = async (path: string): Promise<boolean> =>
  (await stat(path).catch(() => undefined))?.isDirectory() ?? false;

/** The first of some paths that exists. */
export async function firstExisting(paths: readonly string[]): Promise<string | undefined> {
  for (const path of paths) if (await exists(path)) return path;
  return undefined;
}

/** Files of a folder, sorted; none where there is no such folder. */
export async function listFiles(folder: string, pattern = PICTURES): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => !entry.isDirectory() && pattern.test(entry.name) && !entry.name.startsWith('.'))
    .map((entry) => join(folder, entry.name))
    .sort();
}

export async function listFolders(folder: string): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch(() => []);
  return entries
    .filter((entry) => entry.isDirectory())
    .map((entry) => join(folder, entry.name))
    .sort();
}

/** Files of a folder and of all below it. */
export async function walkFiles(folder: string, pattern: RegExp): Promise<string[]> {
  const below = await Promise.all((await listFolders(folder)).map((path) => walkFiles(path, pattern)));
  return [...(await listFiles(folder, pattern)), ...below.flat()];
}

export const stem = (path: string): string => basename(path, extname(path));

/** A picture file: what sharp reads, and BMP, which sharp's builds do not. */
export const readPicture = (path: string): Promise<Pixels> =>
  /\.bmp$/i.test(path) ? readBmp(path) : decodeImage(path);

/** @throws HrsamError ERR_FILE: what was looked for is not there */
export function notThere(root: string, format: string, expected: string): never {
  throw new HrsamError('ERR_FILE', `not a data set in the layout of ${format}`, { where: root, expected });
}

/** @throws HrsamError ERR_IMAGE: an entry that cannot be used */
export function corrupt(where: string, summary: string, expected?: unknown, actual?: unknown): never {
  throw new HrsamError('ERR_IMAGE', summary, { where, expected, actual });
}
