import { join, relative, sep } from 'node:path';
import { HrsamError } from '../errors.js';
import { exists, isFolder, listFolders, walkFiles } from './files.js';
import { IndexFile } from './index_file.js';

/** Folders of data sets: the folder itself where it has an index.json, else those in it that have one. */
export async function indexedFolders(root: string): Promise<string[]> {
  const folders: string[] = [];
  for (const folder of [root, ...(await listFolders(root))]) {
    if (!(await exists(join(folder, 'index.json')))) continue;
    if (folder === root) return [root];
    folders.push(folder);
  }
  return folders;
}

export interface ListedPicture {
  /** Relative to the root, with slashes. */
  name: string;
  path: string;
}

/**
 * The pictures of a folder, each once, sorted by name: those that an index.json lists, in it or in folders of it; without
 * such lists all files that are pictures by their names.
 * @param onCorrupt called for each entry of a list that names no file of its folder
 * @throws HrsamError ERR_FILE when there are none
 */
export async function listPictures(
  root: string,
  onCorrupt?: (error: HrsamError) => void,
): Promise<ListedPicture[]> {
  if (!(await isFolder(root))) throw new HrsamError('ERR_FILE', 'there is no such folder', { where: root });
  const paths = new Set<string>();
  const folders = await indexedFolders(root);
  for (const folder of folders) {
    const list = await IndexFile.open(folder);
    for (const i of list.entries.keys()) {
      try {
        paths.add(list.file(i, list.entry(i).image));
      } catch (error) {
        if (!(error instanceof HrsamError)) throw error;
        onCorrupt?.(error);
      }
    }
  }
  if (folders.length === 0) for (const path of await walkFiles(root)) paths.add(path);
  if (paths.size === 0) throw new HrsamError('ERR_FILE', 'no picture', { where: root });
  return [...paths]
    .map((path) => ({ name: relative(root, path).split(sep).join('/'), path }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}
