import { readdir, readFile, stat } from 'node:fs/promises';
import { isAbsolute, join, relative } from 'node:path';
import { HrsamError } from '../errors.js';

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
export async function walkFiles(folder: string, pattern = PICTURES): Promise<string[]> {
  const below = await Promise.all((await listFolders(folder)).map((path) => walkFiles(path, pattern)));
  return [...(await listFiles(folder, pattern)), ...below.flat()];
}

/** @throws HrsamError ERR_FILE */
export async function readJson(path: string): Promise<unknown> {
  if (!(await exists(path))) throw new HrsamError('ERR_FILE', 'there is no such file', { where: path });
  try {
    return JSON.parse(await readFile(path, 'utf8'));
  } catch (cause) {
    throw new HrsamError('ERR_FILE', `is no JSON that fits in memory: ${(cause as Error).message}`, {
      where: path,
      cause,
    });
  }
}

/** Lists come from elsewhere: they name files of their own folder. @throws HrsamError ERR_FILE */
export function pathInside(folder: string, path: string, where: string): string {
  const full = join(folder, path);
  if (isAbsolute(path) || relative(folder, full).startsWith('..'))
    throw new HrsamError('ERR_FILE', 'a path out of the folder', {
      where,
      expected: 'one inside',
      actual: path,
    });
  return full;
}
