import { readFile } from 'node:fs/promises';
import { basename, dirname, join, relative } from 'node:path';
import {
  firstExisting,
  isFolder,
  listFiles,
  listFolders,
  MASKS,
  PICTURES,
  walkFiles,
} from '../../data/files.js';
import { type LabelImage, readLabels } from '../../data/read_labels.js';
import { decodeImage } from '../../image/decode.js';
import { brightest } from '../../image/mask_picture.js';
import {
  type DataSet,
  type LabelledObject,
  type LabelledPicture,
  notThere,
  type OpenOptions,
  stem,
} from './dataset.js';
import { maskFile, pairs } from './folder.js';
import { regions } from './label_map.js';

/** The instance number of what nobody decided about. */
const VOID = 255;
/** More objects than one frame has. */
const MOST_OBJECTS = 31;

/** A colour's index in the set's palette, that of PASCAL VOC: three bits of the index are the highest of each channel. */
function paletteIndex(red: number, green: number, blue: number): number {
  let index = 0;
  for (let bit = 0; bit < 8; bit++) {
    const triple = ((red >> bit) & 1) | (((green >> bit) & 1) << 1) | (((blue >> bit) & 1) << 2);
    index |= triple << (3 * (7 - bit));
  }
  return index;
}

/**
 * Each pixel's object as a number, and which number is no object: instances are numbered, by grey or by the colours of the
 * palette. A mask has 0 and 255, and perhaps soft edges; there 255 is the object.
 */
function numbered(labels: LabelImage): { number: (i: number) => number; none?: number } {
  const { data, channels, height, width } = labels;
  if (channels === 3)
    return {
      number: (i) => paletteIndex(data[3 * i]!, data[3 * i + 1]!, data[3 * i + 2]!),
      none: VOID,
    };
  const value = brightest(labels);
  let [few, soft] = [false, false];
  for (let i = 0; i < height * width; i++) {
    const v = value(i);
    if (v > 0 && v <= MOST_OBJECTS) few = true;
    else if (v > MOST_OBJECTS && v !== VOID) soft = true;
  }
  return { number: value, none: few && !soft ? VOID : undefined };
}

/** Everything that is an object, together. */
function moving(labels: LabelImage) {
  const { height, width } = labels;
  const { number, none } = numbered(labels);
  const where = (test: (value: number) => boolean) =>
    regions(height, width, (i) => (test(number(i)) ? 1 : 0)).get(1);
  const nothing = { size: [height, width] as [number, number], counts: [height * width] };
  return {
    mask: where((value) => value !== 0 && value !== none) ?? nothing,
    ignore: none === undefined ? undefined : where((value) => value === none),
  };
}

async function instances(path: string): Promise<LabelledObject[]> {
  const labels = await readLabels(path);
  const { number, none } = numbered(labels);
  const masks = regions(labels.height, labels.width, number);
  const ignore = none === undefined ? undefined : masks.get(none);
  return [...masks]
    .filter(([value]) => value !== none)
    .sort(([a], [b]) => a - b)
    .map(([value, mask]) => ({ name: `${basename(path)}:${value}`, read: async () => ({ mask, ignore }) }));
}

const UNSUPERVISED = /^unsupervised\//;

/**
 * DAVIS: everything that moves together is the object, as DAVIS 2016 has it; of the lists of 2017 each instance is one, as
 * of the unsupervised set of 2019. img/ and gt/ (the 345 frames as interactive segmentation passes them on), or JPEGImages/
 * and Annotations/ (else Annotations_unsupervised/) with the frames of a list: one whose name holds 345, else ImageSets'
 * val, 2016 before 2017. A split names another list: `train`, `2017/val`, and `unsupervised/val` where both are there.
 */
export async function openDavis(folder: string, options: OpenOptions = {}): Promise<DataSet> {
  const root = (await isFolder(join(folder, 'DAVIS'))) ? join(folder, 'DAVIS') : folder;
  if (await isFolder(join(root, 'gt'))) return { format: 'davis', pictures: await passedOn(root, options) };
  const split = options.split?.replace(UNSUPERVISED, '');
  const unsupervised = split !== options.split || !(await isFolder(join(root, 'Annotations')));
  const masks = join(root, unsupervised ? 'Annotations_unsupervised' : 'Annotations');
  const [annotations] = (await listFolders(masks)).sort(byResolution);
  if (annotations === undefined)
    return notThere(
      root,
      'DAVIS',
      'img/ and gt/, or JPEGImages/480p/ and Annotations/480p/ or …_unsupervised/480p/',
    );
  const resolution = basename(annotations);
  const list = await findList(root, unsupervised ? ['2017', '2019'] : [resolution, '2016', '2017'], split);
  const frames = list === undefined ? undefined : await listedFrames(list);
  const each = unsupervised || (list !== undefined && /[\\/]2017[\\/]/.test(relative(root, list)));
  const wanted = (path: string) => {
    const [sequence, frame] = path.split(/[\\/]/).slice(-2) as [string, string];
    return [sequence, `${sequence}/${stem(frame)}`, `${sequence}_${stem(frame)}`].some(
      (name) => frames?.has(name) ?? true,
    );
  };
  const files = (await walkFiles(annotations, /\.png$/)).filter(wanted);
  if (files.length === 0) return notThere(list ?? root, 'DAVIS', `frames that are in ${annotations}`);
  const pictures = files.map((path): LabelledPicture => {
    const frame = path.split(/[\\/]/).slice(-2).join('/');
    const picture = join(root, 'JPEGImages', resolution, frame.replace(/\.png$/, '.jpg'));
    return {
      name: frame.replace(/\.png$/, '.jpg'),
      read: () => decodeImage(picture),
      objects: async () => (each ? instances(path) : [maskFile(path, moving)]),
    };
  });
  return { format: 'davis', pictures };
}

async function passedOn(root: string, { split }: OpenOptions): Promise<LabelledPicture[]> {
  const pictures = await pairs(join(root, 'img'), join(root, 'gt'), moving);
  if (split === undefined) return pictures;
  const list = join(root, 'list', `${split}.txt`);
  const names = await listedFrames(list).catch(() => notThere(root, 'DAVIS', `list/${split}.txt`));
  return pictures.filter(({ name }) => names.has(stem(name)));
}

/** 480p is what papers judge at. */
const byResolution = (a: string, b: string): number =>
  Number(basename(b) === '480p') - Number(basename(a) === '480p') || a.localeCompare(b);

/** The list of a split in the first of some folders; undefined where none is asked for and there are none: all frames. */
async function findList(
  root: string,
  folders: readonly string[],
  split: string | undefined,
): Promise<string | undefined> {
  const sets = join(root, 'ImageSets');
  const [papers] = split === undefined ? await walkFiles(root, /345[^/\\]*\.txt$/) : [];
  const name = `${split ?? 'val'}.txt`;
  const found = papers ?? (await firstExisting([...folders, '.'].map((folder) => join(sets, folder, name))));
  if (found !== undefined || split === undefined) return found;
  const all = [sets, ...(await listFolders(sets))];
  const lists = (await Promise.all(all.map((path) => listFiles(path, /\.txt$/)))).flat();
  const known = lists.map((path) => path.slice(sets.length + 1).replace(/\.txt$/, ''));
  return notThere(root, 'DAVIS', `ImageSets/…/${name}; there are ${known.join(', ') || 'no lists'}`);
}

/** Sequences, and sequence/frame, that a list names. */
async function listedFrames(path: string): Promise<Set<string>> {
  const words = (await readFile(path, 'utf8')).split('\n').map((line) => line.trim().split(/\s+/)[0]!);
  const names = words.filter((word) => word !== '');
  const bare = (name: string) =>
    PICTURES.test(name) || MASKS.test(name) ? name.replace(/\.\w+$/, '') : name;
  return new Set(names.map((name) => bare(name).split('/').slice(-2).join('/')));
}

/** Masks that a session begins with, by two methods: clicks begin with nothing here. */
export const INITIAL = /^init_(sp|stm)_.*\.png$/;

/**
 * DAVIS-585 of FocalClick: a folder for each sequence, with frames <frame>.jpg and for each object <object>_<frame>.png;
 * begun with nothing (D585_ZERO), not with the masks init_….
 */
export async function openDavis585(root: string): Promise<DataSet> {
  const files = (
    await Promise.all((await listFolders(root)).map((folder) => listFiles(folder, /_\d+\.png$/)))
  ).flat();
  const frames = new Map<string, string[]>();
  for (const path of files.filter((path) => !INITIAL.test(basename(path)))) {
    const frame = join(dirname(path), path.replace(/^.*_(\d+)\.png$/, '$1.jpg'));
    frames.set(frame, [...(frames.get(frame) ?? []), path]);
  }
  if (frames.size === 0)
    return notThere(root, 'DAVIS-585', '<sequence>/<frame>.jpg and <sequence>/<object>_<frame>.png');
  const pictures = [...frames].map(([path, masks]) => ({
    name: `${basename(dirname(path))}/${basename(path)}`,
    read: () => decodeImage(path),
    objects: async () => masks.map((mask) => maskFile(mask)),
  }));
  return { format: 'davis585', pictures };
}
