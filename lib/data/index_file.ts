import { join } from 'node:path';
import { HrsamError } from '../errors.js';
import { isFolder, pathInside, readJson } from './files.js';

/** An object of a picture, paths as the list has them. */
export interface IndexEntry {
  image: string;
  mask: string;
  /** Of the mask, where the list says. */
  width?: number;
  height?: number;
}

/** index.json: a list of {image, mask, width, height}, one object each, paths relative to its folder. */
export class IndexFile {
  private constructor(
    readonly path: string,
    readonly folder: string,
    readonly entries: readonly unknown[],
  ) {}

  /**
   * @param root the list, or the folder it is in
   * @throws HrsamError ERR_FILE when there is no list of entries
   */
  static async open(root: string): Promise<IndexFile> {
    const path = (await isFolder(root)) ? join(root, 'index.json') : root;
    const entries = await readJson(path);
    if (Array.isArray(entries) && entries.length > 0) return new IndexFile(path, join(path, '..'), entries);
    throw new HrsamError('ERR_FILE', 'not a list of objects', {
      where: path,
      expected: '[{"image": …, "mask": …}, …]',
    });
  }

  /** What errors call entry `i`. */
  where(i: number): string {
    return `${this.path}, entry ${i}`;
  }

  /** @throws HrsamError ERR_FILE when it is none */
  entry(i: number): IndexEntry {
    const entry = this.entries[i] as Partial<IndexEntry> | null;
    if (typeof entry?.image === 'string' && typeof entry.mask === 'string') return entry as IndexEntry;
    throw new HrsamError('ERR_FILE', 'not an entry', {
      where: this.where(i),
      expected: '{"image": …, "mask": …}',
      actual: JSON.stringify(entry),
    });
  }

  /** The file that entry `i` names. @throws HrsamError ERR_FILE when it is not in the list's folder */
  file(i: number, path: string): string {
    return pathInside(this.folder, path, this.where(i));
  }
}
