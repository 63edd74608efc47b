import { basename, join } from 'node:path';
import { firstExisting, listFiles } from '../../data/files.js';
import { decodeImage } from '../../image/decode.js';
import { rleArea } from '../../image/rle.js';
import { corrupt, type DataSet, type LabelledObject, notThere, type OpenOptions, stem } from './dataset.js';
import { regions } from './label_map.js';
import { type MatValue, readMat } from './mat.js';

/** Smaller segments are no objects that one would click, as a share of the picture. */
const MIN_SHARE = 0.01;

/**
 * BSDS500: images/<split>/<name>.jpg and groundTruth/<split>/<name>.mat. Every segment that the first annotator drew
 * and that covers 1 % of the picture or more is an object.
 */
export async function openBsds500(root: string, { split = 'test' }: OpenOptions = {}): Promise<DataSet> {
  const base = await firstExisting(
    ['BSDS500/data', 'data', '.'].map((path) => join(root, path, 'groundTruth', split)),
  );
  const files = base ? await listFiles(base, /\.mat$/) : [];
  if (base === undefined || files.length === 0)
    return notThere(root, 'BSDS500', `groundTruth/${split}/<name>.mat and images/${split}/<name>.jpg`);
  const images = join(base, '..', '..', 'images', split);
  const pictures = files.map((path) => ({
    name: `${stem(path)}.jpg`,
    read: () => decodeImage(join(images, `${stem(path)}.jpg`)),
    objects: () => segments(path),
  }));
  return { format: 'bsds500', pictures };
}

async function segments(path: string): Promise<LabelledObject[]> {
  const { groundTruth } = await readMat(path);
  const first = groundTruth?.kind === 'cells' ? groundTruth.cells[0] : undefined;
  const map: MatValue | undefined = first?.kind === 'struct' ? first.fields.Segmentation : undefined;
  if (map?.kind !== 'numbers' || map.dims.length !== 2)
    return corrupt(path, 'no segmentation', 'groundTruth{1}.Segmentation');
  const [height, width] = map.dims as [number, number];
  // MATLAB counts down the columns.
  const label = (i: number) => map.values[(i % width) * height + Math.floor(i / width)]!;
  return [...regions(height, width, label)]
    .filter(([, mask]) => rleArea(mask) >= MIN_SHARE * height * width)
    .sort(([a], [b]) => a - b)
    .map(([number, mask]) => ({ name: `${basename(path)}:${number}`, read: async () => ({ mask }) }));
}
