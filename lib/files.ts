import { randomUUID } from 'node:crypto';
import { rename, rm, writeFile } from 'node:fs/promises';
import { HrsamError } from './errors.js';

/** Writes a file that appears under its name only when it is complete. @throws HrsamError ERR_FILE */
export async function writeWhole(path: string, content: Uint8Array | string): Promise<void> {
  const partial = `${path}.${randomUUID()}.part`;
  try {
    await writeFile(partial, content);
    await rename(partial, path);
  } catch (cause) {
    await rm(partial, { force: true });
    throw new HrsamError('ERR_FILE', `cannot be written (${(cause as NodeJS.ErrnoException).code})`, {
      where: path,
      cause,
    });
  }
}
