import { basename, join } from 'node:path';
import { listFiles, MASKS } from '../../data/files.js';
import { type IndexEntry, IndexFile } from '../../data/index_file.js';
import {
  corrupt,
  type DataSet,
  type LabelledObject,
  type LabelledPicture,
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

/** index.json: a list of {image, mask, width, height}, one object each, paths relative to it. */
export async function openIndex(root: string): Promise<DataSet> {
  const list = await IndexFile.open(root);
  const byImage = new Map<string, { first: number; objects: LabelledObject[] }>();
  for (const i of list.entries.keys()) {
    const { image, object } = listed(list, i);
    const picture = byImage.get(image) ?? { first: i, objects: [] };
    byImage.set(image, picture);
    picture.objects.push(object);
  }
  const pictures = [...byImage].map(
    ([image, { first, objects }]): LabelledPicture => ({
      name: basename(image),
      read: async () => readPicture(list.file(first, image)),
      objects: async () => objects,
    }),
  );
  return { format: 'index', pictures };
}

/** Entry `i` and its picture; one that is none is a picture of its own, which cannot be read. */
function listed(list: IndexFile, i: number): { image: string; object: LabelledObject } {
  try {
    const { image, ...mask } = list.entry(i);
    return { image, object: indexed(list, i, mask) };
  } catch (error) {
    return { image: `entry ${i}`, object: { name: list.where(i), read: () => Promise.reject(error) } };
  }
}

function indexed(
  list: IndexFile,
  i: number,
  { mask, width, height }: Omit<IndexEntry, 'image'>,
): LabelledObject {
  return {
    name: basename(mask),
    async read() {
      const object = await maskFile(list.file(i, mask)).read();
      const [h, w] = object.mask.size;
      if ((width ?? w) !== w || (height ?? h) !== h)
        corrupt(list.where(i), 'a mask of another size', `${width} x ${height}`, `${w} x ${h}`);
      return object;
    },
  };
}
