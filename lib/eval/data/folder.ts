import { basename, join } from 'node:path';
import { listFiles, MASKS } from '../../data/files.js';
import { type IndexEntry, IndexFile } from '../../data/index_file.js';
import { type LabelImage, readLabels } from '../../data/read_labels.js';
import { decodeImage } from '../../image/decode.js';
import {
  corrupt,
  type DataSet,
  type LabelledObject,
  type LabelledPicture,
  notThere,
  type ObjectMask,
  stem,
  unreadable,
} from './dataset.js';
import { binaryMask } from './label_map.js';

/** What a mask's picture says. */
export type MaskRule = (labels: LabelImage) => ObjectMask;

/** Everything but black. */
export const notBlack: MaskRule = (labels) => ({ mask: binaryMask(labels, (value) => value > 0) });

/** A mask file as an object. */
export const maskFile = (
  path: string,
  rule: MaskRule = (labels) => ({ mask: binaryMask(labels) }),
): LabelledObject => ({
  name: basename(path),
  read: async () => rule(await readLabels(path)),
});

/** The picture that a mask is of: it has its name, or the name before `__k` or `#k`. */
function pictureOf(mask: string, names: ReadonlySet<string>): string | undefined {
  const whole = stem(mask);
  const ends = [...whole.matchAll(/__|#/g)].map(({ index }) => index);
  return [whole.length, ...ends.reverse()].map((end) => whole.slice(0, end)).find((name) => names.has(name));
}

/**
 * Pictures in one folder, masks of the same names in another; `name__k` or `name#k` is an object of `name`. Pictures
 * without a mask are left out, a mask without a picture is an entry that cannot be read.
 */
export async function pairs(images: string, masks: string, rule?: MaskRule): Promise<LabelledPicture[]> {
  const pictures = await listFiles(images);
  const names = new Set(pictures.map(stem));
  const byPicture = new Map<string, string[]>();
  const alone: LabelledPicture[] = [];
  for (const path of pictures.length > 0 ? await listFiles(masks, MASKS) : []) {
    const name = pictureOf(path, names);
    if (name === undefined) alone.push(unreadable(basename(path), path, 'a mask without a picture'));
    else byPicture.set(name, [...(byPicture.get(name) ?? []), path]);
  }
  const labelled = pictures
    .filter((path) => byPicture.has(stem(path)))
    .map((path) => ({
      name: basename(path),
      read: () => decodeImage(path),
      objects: async () => byPicture.get(stem(path))!.map((mask) => maskFile(mask, rule)),
    }));
  return labelled.length > 0 ? [...labelled, ...alone] : [];
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
  const pictures: LabelledPicture[] = [];
  const byImage = new Map<string, LabelledObject[]>();
  for (const i of list.entries.keys()) {
    try {
      const { image, ...mask } = list.entry(i);
      let objects = byImage.get(image);
      if (!objects) {
        const those: LabelledObject[] = [];
        pictures.push({
          name: image,
          read: async () => decodeImage(list.file(i, image)),
          objects: async () => those,
        });
        byImage.set(image, those);
        objects = those;
      }
      objects.push(indexed(list, i, mask));
    } catch (error) {
      const read = () => Promise.reject(error);
      pictures.push({ name: `entry ${i}`, read, objects: read });
    }
  }
  return { format: 'index', pictures };
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
