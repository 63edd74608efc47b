import { randomUUID } from 'node:crypto';
import type { Stats } from 'node:fs';
import {
  type FileHandle,
  lstat,
  mkdir,
  open,
  readdir,
  readlink,
  realpath,
  rename,
  rm,
  stat,
  writeFile,
} from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { HrsamError } from './errors.js';

/** Where the bytes for a path go. */
export interface Target {
  /** Written under this name first … */
  partial: string;
  /** … then put in its place; not for what is no regular file, a pipe or a device, which is written to as it is. */
  path?: string;
}

/** @throws HrsamError ERR_ARGUMENT for what is no string */
export function checkPath(path: unknown, where: string): void {
  if (typeof path !== 'string')
    throw new HrsamError('ERR_ARGUMENT', 'path', { where, expected: 'a string', actual: path });
}

/** Where a path leads, links followed; of what is not there yet, where it would be made. */
export async function realPath(path: string): Promise<string> {
  return realpath(path).catch(async () => {
    const end = resolve(dirname(path), await readlink(path).catch(() => basename(path)));
    return join(await realpath(dirname(end)).catch(() => dirname(end)), basename(end));
  });
}

/** A file appears under its name only when it is complete; a link stays one, and what it points to is replaced. */
export async function targetOf(path: string): Promise<Target> {
  const isLink = (await lstat(path).catch(() => undefined))?.isSymbolicLink() ?? false;
  const real = isLink ? await realPath(path) : path;
  const there = await stat(real).catch(() => undefined);
  if (there && !there.isFile() && !there.isDirectory()) return { partial: real };
  // Of its own name: a long one leaves no room for more.
  return { partial: join(dirname(real), `.${randomUUID()}.part`), path: real };
}

/** Puts what was written in its place. */
export async function finish({ partial, path }: Target): Promise<void> {
  if (path !== undefined) await rename(partial, path);
}

/** What `targetOf` calls a file that is not complete. */
const PARTIAL = /^\.[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\.part$/;

/** So long nothing is written to a file that somebody still writes, in milliseconds. */
const STALE = 60_000;

/** Removes what processes that were killed had not written to its end, in a folder and below. */
export async function removePartial(folder: string): Promise<void> {
  for (const name of await readdir(folder, { recursive: true }).catch(() => [])) {
    if (!PARTIAL.test(basename(name))) continue;
    const path = join(folder, name);
    const written = await stat(path).catch(() => undefined);
    if (written && Date.now() - written.mtimeMs > STALE) await rm(path, { force: true });
  }
}

/** Removes what was begun, where it can: what went wrong before is what is told. */
export async function abandon({ partial, path }: Target): Promise<void> {
  if (path !== undefined) await rm(partial, { force: true }).catch(() => {});
}

/** What a failure to write a file is thrown as. */
export function cannotWrite(path: string, cause: unknown): HrsamError {
  if (cause instanceof HrsamError) return cause;
  const why = (cause as NodeJS.ErrnoException).code ?? String(cause);
  return new HrsamError('ERR_FILE', `cannot be written (${why})`, { where: path, cause });
}

/** Writes a file that appears under its name only when it is complete. @throws HrsamError ERR_FILE */
export async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  const target = await targetOf(path);
  try {
    await writeFile(target.partial, content);
    await finish(target);
  } catch (cause) {
    await abandon(target);
    throw cannotWrite(path, cause);
  }
}

/**
 * Makes a folder and those above it, where they are not there yet.
 * @returns whether it was not there
 * @throws HrsamError ERR_FILE
 */
export async function makeFolder(path: string): Promise<boolean> {
  return makeWithParents(resolve(path)).catch((cause: NodeJS.ErrnoException) => {
    const why = cause.code === 'EEXIST' ? ': what has that name is no folder' : ` (${cause.code})`;
    throw new HrsamError('ERR_FILE', `cannot be made${why}`, { where: path, cause });
  });
}

// Not mkdir's own `recursive`: in a folder that takes none, as /proc, it tries for ever.
async function makeWithParents(path: string): Promise<boolean> {
  const make = () =>
    mkdir(path).then(
      () => true,
      async (error: NodeJS.ErrnoException) => {
        const there = error.code === 'EEXIST' && (await stat(path)).isDirectory();
        if (!there) throw error;
        return false;
      },
    );
  return make().catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'ENOENT' || dirname(path) === path) throw error;
    await makeWithParents(dirname(path));
    return make();
  });
}

const cannotRead = (path: string, cause: unknown): HrsamError => {
  if (cause instanceof HrsamError) return cause;
  const code = (cause as NodeJS.ErrnoException).code ?? String(cause);
  const why = code === 'ENOENT' ? 'does not exist' : `cannot be read (${code})`;
  return new HrsamError('ERR_FILE', why, { where: path, cause });
};

/** Opens a regular file; what waits for ever, a pipe or a device, is refused. @throws HrsamError ERR_FILE */
export async function openRegular(path: string): Promise<{ file: FileHandle; size: number }> {
  const sizeOf = (status: Stats): number => {
    if (status.isFile()) return status.size;
    throw new HrsamError('ERR_FILE', 'is not a regular file', { where: path });
  };
  let file: FileHandle | undefined;
  try {
    sizeOf(await stat(path)); // asked before opening: to open a pipe could wait for ever
    file = await open(path);
    return { file, size: sizeOf(await file.stat()) };
  } catch (cause) {
    await file?.close();
    throw cannotRead(path, cause);
  }
}

/**
 * The bytes of a regular file.
 * @param advice what to do about one that is too large
 * @throws HrsamError ERR_FILE when it cannot be read, `tooLarge` when it has more than `maxBytes`
 */
export async function readRegular(
  path: string,
  maxBytes: number,
  tooLarge: 'ERR_FILE' | 'ERR_IMAGE' = 'ERR_FILE',
  advice?: string,
): Promise<Buffer> {
  const { file, size } = await openRegular(path);
  try {
    if (size > maxBytes) {
      throw new HrsamError(tooLarge, 'the file is too large', {
        where: path,
        expected: `at most ${maxBytes} bytes${advice === undefined ? '' : `: ${advice}`}`,
        actual: size,
      });
    }
    return await file.readFile();
  } catch (cause) {
    throw cannotRead(path, cause);
  } finally {
    await file.close();
  }
}
