// Sets whose pictures come with a map of numbered instances.
import { basename, join } from 'node:path';
import { firstExisting, isFolder, walkFiles } from '../../data/files.js';
import { type LabelImage, readLabels } from '../../data/read_labels.js';
import { decodeImage } from '../../image/decode.js';
import {
  corrupt,
  type DataSet,
  type LabelledObject,
  type LabelledPicture,
  notThere,
  type OpenOptions,
  stem,
} from './dataset.js';
import { regions } from './label_map.js';

/** Objects of a map; `label` gives 0 for what is none. */
async function instances(
  path: string,
  label: (image: LabelImage) => (i: number) => number,
  category: (label: number) => number,
): Promise<LabelledObject[]> {
  const image = await readLabels(path);
  const masks = regions(image.height, image.width, label(image));
  return [...masks]
    .sort(([a], [b]) => a - b)
    .map(([number, mask]) => ({
      name: `${stem(path)}:${number}`,
      category: category(number),
      read: async () => ({ mask }),
    }));
}

const pictureAt = (path: string, objects: () => Promise<LabelledObject[]>): LabelledPicture => ({
  name: basename(path),
  read: () => decodeImage(path),
  objects,
});

/** Cityscapes: leftImg8bit/ and gtFine/ with instanceIds of class · 1000 + number; classes without instances are left out. */
export async function openCityscapes(root: string, { split = 'val' }: OpenOptions = {}): Promise<DataSet> {
  const files = await walkFiles(join(root, 'gtFine', split), /_gtFine_instanceIds\.png$/);
  if (files.length === 0)
    notThere(root, 'Cityscapes', `gtFine/${split}/<city>/<name>_gtFine_instanceIds.png and leftImg8bit/`);
  const pictures = files.map((path) => {
    const name = basename(path).replace(/_gtFine_instanceIds\.png$/, '_leftImg8bit.png');
    const city = name.split('_')[0]!;
    return pictureAt(join(root, 'leftImg8bit', split, city, name), () =>
      instances(
        path,
        ({ data, channels }) => {
          if (channels !== 1) corrupt(path, 'not instance numbers', 'grey, 16 bits', `${channels} channels`);
          return (i) => (data[i]! >= 1000 ? data[i]! : 0);
        },
        (label) => Math.floor(label / 1000),
      ),
    );
  });
  return { format: 'cityscapes', pictures };
}

const ADE_SPLITS: Record<string, string> = { val: 'validation', train: 'training' };

/**
 * ADE20K: the whole set (…_seg.png beside each picture: class in red and green, instance in blue), or the scene parsing
 * challenge's instances (annotations_instance/: class in red, instance in green); where those are missing, the region of
 * each class that it names (annotations/).
 */
export async function openAde20k(root: string, { split = 'val' }: OpenOptions = {}): Promise<DataSet> {
  const part = ADE_SPLITS[split] ?? split;
  const challenge = join(root, 'annotations_instance', part);
  if (await isFolder(challenge)) return adeChallenge(root, challenge, part, instanceNumbers, (n) => n >> 8);
  const classes = join(root, 'annotations', part);
  if (await isFolder(classes)) return adeChallenge(root, classes, part, classNumbers, (n) => n);
  const folder = await firstExisting(
    [join('images', 'ADE', part), join('images', part), part].map((path) => join(root, path)),
  );
  const files = await walkFiles(folder ?? root, /_seg\.png$/);
  if (files.length === 0)
    notThere(
      root,
      'ADE20K',
      `images/ADE/${part}/…/<name>_seg.png, or annotations_instance/${part}/ or annotations/${part}/<name>.png`,
    );
  const pictures = files.map((path) =>
    pictureAt(path.replace(/_seg\.png$/, '.jpg'), () =>
      instances(
        path,
        (image) => {
          const at = colours(image, path);
          return (i) => {
            const [red, green, blue] = at(i);
            const category = Math.floor(red / 10) * 256 + green;
            return category > 0 && blue > 0 ? category * 256 + blue : 0;
          };
        },
        (label) => Math.floor(label / 256),
      ),
    ),
  );
  return { format: 'ade20k', pictures };
}

async function adeChallenge(
  root: string,
  folder: string,
  part: string,
  label: (image: LabelImage, path: string) => (i: number) => number,
  category: (label: number) => number,
): Promise<DataSet> {
  const files = await walkFiles(folder, /\.png$/);
  if (files.length === 0) notThere(folder, 'ADE20K', '<name>.png');
  const pictures = files.map((path) =>
    pictureAt(join(root, 'images', part, `${stem(path)}.jpg`), () =>
      instances(path, (image) => label(image, path), category),
    ),
  );
  return { format: 'ade20k', pictures };
}

function instanceNumbers(image: LabelImage, path: string): (i: number) => number {
  const at = colours(image, path);
  return (i) => {
    const [category, instance] = at(i);
    return category > 0 && instance > 0 ? category * 256 + instance : 0;
  };
}

function classNumbers({ data, channels }: LabelImage, path: string): (i: number) => number {
  if (channels !== 1) corrupt(path, 'not a map of classes', 'grey', `${channels} channels`);
  return (i) => data[i]!;
}

function colours({ data, channels }: LabelImage, where: string): (i: number) => [number, number, number] {
  if (channels !== 3) corrupt(where, 'not a map of classes and instances', 'RGB', `${channels} channels`);
  return (i) => [data[3 * i]!, data[3 * i + 1]!, data[3 * i + 2]!];
}
