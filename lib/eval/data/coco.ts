import { basename, dirname, join } from 'node:path';
import { firstExisting, isFolder, listFiles, readJson } from '../../data/files.js';
import { readLabels } from '../../data/read_labels.js';
import { HrsamError } from '../../errors.js';
import { union } from '../../image/overlap.js';
import type { Rle } from '../../image/rle.js';
import { checkRle, decompressRle } from '../../image/rle.js';
import {
  corrupt,
  type DataSet,
  type LabelledObject,
  type LabelledPicture,
  notThere,
  type OpenOptions,
  readAnnotated,
  unreadable,
} from './dataset.js';
import { regions } from './label_map.js';
import { polygonMask } from './polygon.js';

interface ImageEntry {
  id: number;
  file_name?: string;
  coco_url?: string;
  height: number;
  width: number;
}

interface Annotation {
  id?: number;
  image_id?: number;
  category_id?: number;
  iscrowd?: number;
  segmentation?: unknown;
  file_name?: string;
  segments_info?: Annotation[];
}

interface AnnotationFile {
  path: string;
  images: ImageEntry[];
  annotations: Annotation[];
}

type Format = 'coco' | 'coco-panoptic' | 'lvis';

/** Names of annotations, and how errors put it. */
const FILES: Record<Format, readonly [RegExp, string]> = {
  coco: [/^(instances_.*|_annotations\.coco)\.json$/, 'annotations/instances_<split>.json'],
  'coco-panoptic': [/^panoptic_.*\.json$/, 'annotations/panoptic_<split>.json'],
  lvis: [/^lvis_.*\.json$/, 'lvis_v1_<split>.json'],
};

/** The annotations of a format in a folder or its annotations/: the split's, else those that name it. */
export async function findAnnotations(
  root: string,
  format: Format,
  split = 'val',
): Promise<string | undefined> {
  const [pattern] = FILES[format];
  if (!(await isFolder(root))) return pattern.test(basename(root)) ? root : undefined;
  const files = [
    ...(await listFiles(join(root, 'annotations'), pattern)),
    ...(await listFiles(root, pattern)),
  ];
  const first = (fits: (name: string) => boolean) => files.find((path) => fits(basename(path, '.json')));
  return (
    first((name) => name.endsWith(`_${split}`)) ??
    first((name) => name.replace(/\d+$/, '').endsWith(`_${split}`)) ??
    first((name) => name.includes(split)) ??
    (split === 'val' ? files[0] : undefined)
  );
}

async function readAnnotations(root: string, format: Format, split?: string): Promise<AnnotationFile> {
  // A file that is named itself may have any name.
  const path = (await isFolder(root)) ? await findAnnotations(root, format, split) : root;
  if (path === undefined)
    return notThere(
      root,
      format,
      `${FILES[format][1]}${split === undefined ? '' : ` with '${split}' in its name`}`,
    );
  const { images, annotations } = ((await readJson(path)) ?? {}) as Partial<AnnotationFile>;
  if (!Array.isArray(images) || !Array.isArray(annotations))
    return notThere(path, format, '{"images": […], "annotations": […]}');
  const isEntry = (entry: unknown) => typeof entry === 'object' && entry !== null;
  return { path, images: images.filter(isEntry), annotations: annotations.filter(isEntry) };
}

const leavesFolder = (name: string) => name.split(/[\\/]/).includes('..');

/** The folder that a file of annotations is about. */
const rootOf = (annotations: string) => {
  const folder = dirname(annotations);
  return basename(folder) === 'annotations' ? dirname(folder) : folder;
};

/** Where a picture lies, beside the annotations' folder or in it, by the usual names of folders. */
async function findPicture(annotations: string, { id, file_name, coco_url }: ImageEntry): Promise<string> {
  const root = rootOf(annotations);
  const fromUrl = typeof coco_url === 'string' ? coco_url.split('/').slice(-2) : [];
  const name = typeof file_name === 'string' ? file_name : fromUrl[1];
  if (name === undefined || leavesFolder(name))
    return corrupt(`${annotations}, image ${id}`, 'no usable file name', 'file_name or coco_url', name);
  const split = /_([a-z]+\d*)\.json$/i.exec(annotations)?.[1] ?? '';
  // COCO's pictures are often beside LVIS' annotations, in a folder of their own.
  const roots = [root, join(root, 'images'), join(root, '..', 'coco'), join(root, '..', 'coco', 'images')];
  const names = [
    ...(fromUrl.length === 2 ? [join(...fromUrl)] : []),
    join(split, name),
    // COCO's detection splits of 2014 are parts of another one's pictures.
    ...(/^(minival|valminusminival)/.test(split) ? [join('val2014', name)] : []),
    name,
  ];
  const places = roots.flatMap((folder) => names.map((path) => join(folder, path)));
  const path = await firstExisting(places);
  return (
    path ?? corrupt(`${annotations}, image ${id}`, 'the picture is missing', places.slice(0, 3).join(' or '))
  );
}

const pictureOf = (
  { path }: AnnotationFile,
  image: ImageEntry,
  objects: () => Promise<LabelledObject[]>,
): LabelledPicture => ({
  name: image.file_name ?? image.coco_url ?? String(image.id),
  id: image.id,
  read: async () => readAnnotated(await findPicture(path, image), image.height, image.width),
  objects,
});

/**
 * COCO and LVIS instances: polygons or run lengths. Crowd regions are no objects and are left out; annotations of no image
 * are an entry for each such number that cannot be read.
 */
export async function openInstances(
  root: string,
  { split }: OpenOptions = {},
  format: 'coco' | 'lvis' = 'coco',
): Promise<DataSet> {
  const file = await readAnnotations(root, format, split);
  const byImage = new Map<number | undefined, Annotation[]>();
  for (const annotation of file.annotations) {
    if (annotation.iscrowd) continue;
    const list = byImage.get(annotation.image_id);
    if (list) list.push(annotation);
    else byImage.set(annotation.image_id, [annotation]);
  }
  const known = new Set<unknown>(file.images.map(({ id }) => id));
  const lost = [...byImage].filter(([id]) => !known.has(id));
  const pictures = file.images
    .filter(({ id }) => byImage.has(id))
    .map((image) =>
      pictureOf(file, image, async () =>
        byImage.get(image.id)!.map((annotation) => ({
          name: `${annotation.id}`,
          category: annotation.category_id,
          read: async () => ({
            mask: instanceMask(annotation.segmentation, image, `${file.path}, annotation ${annotation.id}`),
          }),
        })),
      ),
    );
  for (const [id, { length }] of lost) {
    const where = `${file.path}, image_id ${JSON.stringify(id)}`;
    pictures.push(unreadable(where, where, `${length} annotation${length > 1 ? 's' : ''} of no image`));
  }
  return { format, pictures };
}

const isCounts = (value: unknown): value is { size: [number, number]; counts: string | number[] } => {
  const { size, counts } = (value ?? {}) as { size?: unknown; counts?: unknown };
  return Array.isArray(size) && (typeof counts === 'string' || Array.isArray(counts));
};

/** Pixels from a picture's corner: the outline is walked step by step. */
const FARTHEST = 2 ** 20;

/** @throws HrsamError ERR_IMAGE for what is neither polygons nor run lengths of this picture */
export function instanceMask(
  segmentation: unknown,
  { height, width }: { height: number; width: number },
  where: string,
): Rle {
  if (Array.isArray(segmentation)) {
    const good = (outline: unknown) =>
      Array.isArray(outline) && outline.every((at) => typeof at === 'number' && Math.abs(at) <= FARTHEST);
    // Lines and points among the parts cover nothing.
    const parts = segmentation.every(good) ? segmentation.filter(({ length }) => length >= 6) : [];
    if (parts.length === 0)
      corrupt(where, 'not polygons', 'lists of x0, y0, x1, y1, …, three corners at least');
    return (parts as number[][])
      .map((outline) => polygonMask(outline, height, width))
      .reduce((all, part) => union(all, part));
  }
  if (!isCounts(segmentation)) return corrupt(where, 'no segmentation', 'polygons or {size, counts}');
  const { size, counts } = segmentation;
  if (size[0] !== height || size[1] !== width)
    corrupt(where, 'run lengths of another size', [height, width], size);
  try {
    if (typeof counts === 'string') return decompressRle({ size, counts });
    checkRle({ size, counts });
  } catch (cause) {
    if (!(cause instanceof HrsamError)) throw cause;
    return corrupt(where, cause.message);
  }
  return { size, counts };
}

/** COCO panoptic: a PNG per picture whose colours are the segments' numbers. Crowd segments are left out. */
export async function openPanoptic(root: string, { split }: OpenOptions = {}): Promise<DataSet> {
  const file = await readAnnotations(root, 'coco-panoptic', split);
  const maps = basename(file.path).replace(/\.json$/, '');
  const folder =
    (await firstExisting([dirname(file.path), rootOf(file.path)].map((path) => join(path, maps)))) ??
    notThere(root, 'coco-panoptic', `${maps}/ with a map per picture, beside the annotations`);
  const images = new Map(file.images.map((image) => [image.id, image]));
  const pictures = file.annotations.flatMap((annotation, i): LabelledPicture[] => {
    const image = images.get(annotation.image_id as number);
    const where = `${file.path}, annotation ${i}`;
    const { file_name: name, segments_info: segments } = annotation;
    if (!image) return [unreadable(where, where, 'an image_id of no image')];
    if (typeof name !== 'string' || !Array.isArray(segments) || leavesFolder(name))
      return [unreadable(where, where, 'no file_name or segments_info')];
    return [pictureOf(file, image, () => panopticObjects(join(folder, name), segments))];
  });
  return { format: 'coco-panoptic', pictures };
}

async function panopticObjects(path: string, segments: Annotation[]): Promise<LabelledObject[]> {
  const { data, height, width, channels } = await readLabels(path);
  if (channels !== 3) corrupt(path, 'not a panoptic map', 'RGB', `${channels} channels`);
  const masks = regions(
    height,
    width,
    (i) => data[3 * i]! + 256 * data[3 * i + 1]! + 65536 * data[3 * i + 2]!,
  );
  return segments
    .filter(({ iscrowd }) => !iscrowd)
    .map(({ id, category_id: category }) => ({
      name: `${id}`,
      category,
      read: async () => {
        const mask = masks.get(id as number);
        return { mask: mask ?? corrupt(path, `segment ${id} has no pixel`) };
      },
    }));
}
