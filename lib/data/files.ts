import { constants } from 'node:buffer';
import type { Dirent } from 'node:fs';
import { readdir, realpath, stat } from 'node:fs/promises';
import { isAbsolute, join, relative, sep } from 'node:path';
import { type ErrorCode, HrsamError } from '../errors.js';
import { readRegular } from '../files.js';

/** What pictures may be, and how their files' names end. */
export const PICTURE_FORMATS = 'JPEG, PNG, WebP, TIFF, GIF, AVIF or BMP';
export const PICTURES = /\.(jpe?g|png|webp|tiff?|gif|avif|bmp)$/i;
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

/** What a folder holds, links followed, sorted; nothing where there is no such folder. */
async function list(folder: string, wanted: (name: string, isFolder: boolean) => boolean): Promise<string[]> {
  const entries = await readdir(folder, { withFileTypes: true }).catch((): Dirent[] => []);
  const found = await Promise.all(
    entries.map(async (entry) => {
      const path = join(folder, entry.name);
      const folderThere = entry.isSymbolicLink() ? await isFolder(path) : entry.isDirectory();
      return wanted(entry.name, folderThere) ? [path] : [];
    }),
  );
  return found.flat().sort();
}

/** Files of a folder. */
export const listFiles = (folder: string, pattern = PICTURES): Promise<string[]> =>
  list(folder, (name, isFolder) => !isFolder && pattern.test(name) && !name.startsWith('.'));

export const listFolders = (folder: string): Promise<string[]> => list(folder, (_, isFolder) => isFolder);

/** Files of a folder and of all below it; a link back to a folder that one is in leads nowhere. */
export async function walkFiles(
  folder: string,
  pattern = PICTURES,
  within: readonly string[] = [],
): Promise<string[]> {
  const real = await realpath(folder).catch(() => folder);
  if (within.includes(real)) return [];
  const folders = await listFolders(folder);
  const below = await Promise.all(folders.map((path) => walkFiles(path, pattern, [...within, real])));
  return [...(await listFiles(folder, pattern)), ...below.flat()];
}

/** What to do about a file longer than any text that JavaScript has. */
const SPLIT = 'split it, or keep only the entries that are wanted';

/** @throws HrsamError ERR_FILE, for more than the longest text that there can be as well; `code` for what is no JSON */
export async function readJson(path: string, code: ErrorCode = 'ERR_FILE'): Promise<unknown> {
  const bytes = await readRegular(path, constants.MAX_STRING_LENGTH, 'ERR_FILE', SPLIT);
  if (['fffe', 'feff'].includes(bytes.toString('hex', 0, 2)))
    throw new HrsamError(code, 'is UTF-16', { where: path, expected: 'UTF-8' });
  try {
    // Some editors mark UTF-8.
    return JSON.parse(bytes.toString().replace(/^\uFEFF/, ''));
  } catch (cause) {
    throw new HrsamError(code, `is no JSON: ${(cause as Error).message}`, { where: path, cause });
  }
}

/** Lists come from elsewhere: they name files of their own folder. @throws HrsamError ERR_FILE */
export function pathInside(folder: string, path: string, where: string): string {
  const full = join(folder, path);
  const way = relative(folder, full);
  if (isAbsolute(path) || way === '..' || way.startsWith(`..${sep}`))
    throw new HrsamError('ERR_FILE', 'a path out of the folder', {
      where,
      expected: 'one inside',
      actual: path,
    });
  return full;
}
