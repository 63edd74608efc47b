import { randomUUID } from 'node:crypto';
import { lstat, readlink, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { HrsamError } from './errors.js';

/** Where the bytes for a path go. */
export interface Target {
  /** Written under this name first … */
  partial: string;
  /** … then put in its place; not for what is no regular file, a pipe or a device, which is written to as it is. */
  path?: string;
}

/** A file appears under its name only when it is complete; a link stays one, and what it points to is replaced. */
export async function targetOf(path: string): Promise<Target> {
  const isLink = (await lstat(path).catch(() => undefined))?.isSymbolicLink() ?? false;
  const real = isLink
    ? await realpath(path).catch(async () => resolve(dirname(path), await readlink(path)))
    : path;
  const there = await stat(real).catch(() => undefined);
  if (there && !there.isFile() && !there.isDirectory()) return { partial: real };
  return { partial: `${real}.${randomUUID()}.part`, path: real };
}

/** Puts what was written in its place. */
export async function finish({ partial, path }: Target): Promise<void> {
  if (path !== undefined) await rename(partial, path);
}

/** Removes what was begun. */
export async function abandon({ partial, path }: Target): Promise<void> {
  if (path !== undefined) await rm(partial, { force: true });
}

/** Writes a file that appears under its name only when it is complete. @throws HrsamError ERR_FILE */
export async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  const target = await targetOf(path);
  try {
    await writeFile(target.partial, content);
    await finish(target);
  } catch (cause) {
    await abandon(target);
    throw new HrsamError('ERR_FILE', `cannot be written (${(cause as NodeJS.ErrnoException).code})`, {
      where: path,
      cause,
    });
  }
}
