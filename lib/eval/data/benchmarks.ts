// Sets of pictures with one mask file per object, in the folders that their authors chose.
import { readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { firstExisting, isFolder, listFolders, PICTURES, walkFiles } from '../../data/files.js';
import {
  type DataSet,
  type LabelledPicture,
  notThere,
  type OpenOptions,
  readPicture,
  stem,
} from './dataset.js';
import { maskFile, pairs } from './folder.js';

/** GrabCut: data_GT/ and boundary_GT/, grey 128 being the band that nobody decided about. */
export async function openGrabcut(root: string): Promise<DataSet> {
  const rule = { inside: (v: number) => v > 128, ignore: (v: number) => v === 128 };
  const pictures = await pairs(join(root, 'data_GT'), join(root, 'boundary_GT'), rule);
  if (pictures.length === 0) notThere(root, 'GrabCut', 'data_GT/<name>.jpg and boundary_GT/<name>.bmp');
  return { format: 'grabcut', pictures };
}

/** Berkeley: images/ and masks/ (or ground-truth/), <name>#<k>.png where a picture has several objects. */
export async function openBerkeley(root: string): Promise<DataSet> {
  const masks = await firstExisting(['masks', 'ground-truth'].map((name) => join(root, name)));
  const pictures = masks ? await pairs(join(root, 'images'), masks) : [];
  if (pictures.length === 0) notThere(root, 'Berkeley', 'images/<name>.jpg and masks/<name>.png');
  return { format: 'berkeley', pictures };
}

/** The four validation parts of HQSeg-44K: where their pictures and masks lie. */
const HQSEG: Record<string, readonly [string, string]> = {
  'DIS5K-VD': ['DIS5K/DIS-VD/im', 'DIS5K/DIS-VD/gt'],
  COIFT: ['thin_object_detection/COIFT/images', 'thin_object_detection/COIFT/masks'],
  HRSOD: ['thin_object_detection/HRSOD/images', 'thin_object_detection/HRSOD/masks_max255'],
  ThinObject5K: [
    'thin_object_detection/ThinObject5K/images_test',
    'thin_object_detection/ThinObject5K/masks_test',
  ],
};

/** HQSeg-44K: every part that is there, or the one that is named as split; also the folder of one part alone. */
export async function openHqseg(root: string, { split }: OpenOptions = {}): Promise<DataSet> {
  const named = (part: string) => split === undefined || part.toLowerCase() === split.toLowerCase();
  const pictures: LabelledPicture[] = [];
  for (const [part, places] of Object.entries(HQSEG).filter(([part]) => named(part))) {
    const last = places.map((path) => basename(path));
    for (const [images, masks] of [places, last] as [string, string][]) {
      const found = await pairs(join(root, images), join(root, masks));
      pictures.push(...found.map((picture) => ({ ...picture, name: `${part}/${picture.name}` })));
      if (found.length > 0) break;
    }
  }
  if (pictures.length === 0) {
    const folders = Object.values(HQSEG).map(([images]) => images);
    notThere(root, 'HQSeg-44K', `some of ${folders.join(', ')}, with masks beside`);
  }
  return { format: 'hqseg', pictures };
}

/**
 * DAVIS: every moving thing together is the object. img/ and gt/ (the 345 frames as interactive segmentation passes
 * them on), or JPEGImages/ and Annotations/ with the frames of a list: one whose name holds 345, else ImageSets' val.
 */
export async function openDavis(root: string, { split = 'val' }: OpenOptions = {}): Promise<DataSet> {
  const rule = { inside: (v: number) => v > 0 };
  if (await isFolder(join(root, 'gt')))
    return { format: 'davis', pictures: await pairs(join(root, 'img'), join(root, 'gt'), rule) };
  const [annotations] = (await listFolders(join(root, 'Annotations'))).sort(byResolution);
  if (annotations === undefined)
    return notThere(root, 'DAVIS', 'img/ and gt/, or JPEGImages/480p/ and Annotations/480p/');
  const resolution = basename(annotations);
  const frames = await listedFrames(root, split, resolution);
  const wanted = (path: string) => {
    const [sequence, frame] = path.split('/').slice(-2) as [string, string];
    return !frames || frames.has(sequence) || frames.has(`${sequence}/${stem(frame)}`);
  };
  const files = (await walkFiles(annotations, /\.png$/)).filter(wanted);
  const pictures = files.map((path): LabelledPicture => {
    const frame = path.split('/').slice(-2).join('/');
    const picture = join(root, 'JPEGImages', resolution, frame.replace(/\.png$/, '.jpg'));
    return {
      name: frame.replace(/\.png$/, '.jpg'),
      read: () => readPicture(picture),
      objects: async () => [maskFile(path, rule)],
    };
  });
  return { format: 'davis', pictures };
}

/** 480p is what papers judge at. */
const byResolution = (a: string, b: string): number =>
  Number(basename(b) === '480p') - Number(basename(a) === '480p') || a.localeCompare(b);

/** Sequences, and sequence/frame, that a list names; undefined without a list: all. */
async function listedFrames(
  root: string,
  split: string,
  resolution: string,
): Promise<Set<string> | undefined> {
  const lists = await walkFiles(root, /345[^/]*\.txt$/);
  const path =
    lists[0] ??
    (await firstExisting(
      [resolution, '2016', '2017'].map((year) => join(root, 'ImageSets', year, `${split}.txt`)),
    ));
  if (path === undefined) return undefined;
  const words = (await readFile(path, 'utf8')).split('\n').map((line) => line.trim().split(/\s+/)[0]!);
  return new Set(
    words
      .filter((word) => word !== '')
      .map((word) =>
        (PICTURES.test(word) ? word.replace(PICTURES, '') : word).split('/').slice(-2).join('/'),
      ),
  );
}
