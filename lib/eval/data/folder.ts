import { readFile } from 'node:fs/promises';
import { basename, dirname, isAbsolute, join, relative } from 'node:path';
import { HrsamError } from '../../errors.js';
import {
  corrupt,
  type DataSet,
  exists,
  isFolder,
  type LabelledObject,
  type LabelledPicture,
  listFiles,
  MASKS,
  notThere,
  readPicture,
  stem,
} from './dataset.js';
import { binaryMask, readLabels } from './label_map.js';

/** A mask file as an object; `inside` and `ignore` judge its brightest channel. */
export function maskFile(
  path: string,
  rule: { inside?: (value: number) => boolean; ignore?: (value: number) => boolean } = {},
): LabelledObject {
  return {
    name: basename(path),
    async read() {
      const labels = await readLabels(path);
      const ignore = rule.ignore && binaryMask(labels, rule.ignore);
      return { mask: binaryMask(labels, rule.inside), ignore };
    },
  };
}

/** Pictures in one folder, masks of the same names in another; `name__k` or `name#k` is an object of `name`. */
export async function pairs(
  images: string,
  masks: string,
  rule: Parameters<typeof maskFile>[1] = {},
): Promise<LabelledPicture[]> {
  const byPicture = new Map<string, string[]>();
  const files = await listFiles(masks, MASKS);
  const pictures = await listFiles(images);
  const names = new Set(pictures.map(stem));
  for (const path of files) {
    const whole = stem(path);
    const name = names.has(whole) ? whole : whole.replace(/(__|#)[^_#]+$/, '');
    byPicture.set(name, [...(byPicture.get(name) ?? []), path]);
  }
  return pictures
    .filter((path) => byPicture.has(stem(path)))
    .map((path) => ({
      name: basename(path),
      read: () => readPicture(path),
      objects: async () => byPicture.get(stem(path))!.map((mask) => maskFile(mask, rule)),
    }));
}

/** `images/` and `masks/`. */
export async function openFolder(root: string): Promise<DataSet> {
  const pictures = await pairs(join(root, 'images'), join(root, 'masks'));
  if (pictures.length === 0)
    notThere(root, 'a folder', 'images/<name>.jpg and masks/<name>.png or masks/<name>__<k>.png');
  return { format: 'folder', pictures };
}

interface IndexEntry {
  image: string;
  mask: string;
  width?: number;
  height?: number;
}

const isEntry = (entry: Partial<IndexEntry> | null): entry is IndexEntry =>
  typeof entry?.image === 'string' && typeof entry.mask === 'string';

/** index.json: a list of {image, mask, width, height}, one object each, paths relative to it. */
export async function openIndex(root: string): Promise<DataSet> {
  const path = (await isFolder(root)) ? join(root, 'index.json') : root;
  const entries = await readJson(path);
  if (!Array.isArray(entries)) notThere(path, 'index.json', 'a list of {image, mask, width, height}');
  const folder = dirname(path);
  const byImage = new Map<string, LabelledObject[]>();
  (entries as (Partial<IndexEntry> | null)[]).forEach((entry, i) => {
    const where = `${path}, entry ${i}`;
    const image = isEntry(entry) ? entry.image : `entry ${i}`;
    const list = byImage.get(image) ?? [];
    byImage.set(image, list);
    list.push(isEntry(entry) ? indexed(folder, entry, where) : broken(where, entry));
  });
  const pictures = [...byImage].map(
    ([image, objects]): LabelledPicture => ({
      name: basename(image),
      read: async () => readPicture(inside(folder, image, path)),
      objects: async () => objects,
    }),
  );
  return { format: 'index', pictures };
}

function indexed(folder: string, { mask, width, height }: IndexEntry, where: string): LabelledObject {
  return {
    name: basename(mask),
    async read() {
      const object = await maskFile(inside(folder, mask, where)).read();
      const [h, w] = object.mask.size;
      if ((width ?? w) !== w || (height ?? h) !== h)
        corrupt(where, 'a mask of another size', `${width} x ${height}`, `${w} x ${h}`);
      return object;
    },
  };
}

const broken = (where: string, entry: unknown): LabelledObject => ({
  name: where,
  read: async () => corrupt(where, 'not an entry', '{image, mask}', JSON.stringify(entry)),
});

/** Lists come from elsewhere: they name files of their own folder. */
function inside(folder: string, path: string, where: string): string {
  const full = join(folder, path);
  if (isAbsolute(path) || relative(folder, full).startsWith('..'))
    corrupt(where, 'a path out of the folder', 'one inside', path);
  return full;
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
