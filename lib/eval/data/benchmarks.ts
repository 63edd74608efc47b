// Sets of pictures with one mask file per object, in the folders that their authors chose.
import { basename, join } from 'node:path';
import { firstExisting } from '../../data/files.js';
import { type DataSet, type LabelledPicture, notThere, type OpenOptions } from './dataset.js';
import { notBlack, pairs } from './folder.js';
import { binaryMask } from './label_map.js';

/** GrabCut: data_GT/ and boundary_GT/, grey 128 being the band that nobody decided about. */
export async function openGrabcut(root: string): Promise<DataSet> {
  const pictures = await pairs(join(root, 'data_GT'), join(root, 'boundary_GT'), (labels) => ({
    mask: binaryMask(labels, (value) => value > 128),
    ignore: binaryMask(labels, (value) => value === 128),
  }));
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

/**
 * HQSeg-44K: every part that is there, or the one that is named as split; also the folder of one part alone. Soft edges
 * belong to the object, as HRSAM is judged.
 */
export async function openHqseg(root: string, { split }: OpenOptions = {}): Promise<DataSet> {
  const known = Object.keys(HQSEG);
  const named = (part: string) => split === undefined || part.toLowerCase() === split.toLowerCase();
  if (!known.some(named)) notThere(root, 'HQSeg-44K', `a split of ${known.join(', ')}`);
  const pictures: LabelledPicture[] = [];
  for (const [part, places] of Object.entries(HQSEG).filter(([part]) => named(part))) {
    const last = places.map((path) => basename(path));
    for (const [images, masks] of [places, last] as [string, string][]) {
      const found = await pairs(join(root, images), join(root, masks), notBlack);
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
