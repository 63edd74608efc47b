import { readdir } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { exists, isFolder, listFiles, listFolders, walkFiles } from '../../data/files.js';
import { HrsamError } from '../../errors.js';
import { DATA_FORMATS, type DataFormat } from '../formats.js';
import { openBerkeley, openGrabcut, openHqseg } from './benchmarks.js';
import { openBsds500 } from './bsds.js';
import { findAnnotations, openInstances, openPanoptic } from './coco.js';
import type { DataSet, OpenOptions } from './dataset.js';
import { INITIAL, openDavis, openDavis585 } from './davis.js';
import { openFolder, openIndex } from './folder.js';
import { openAde20k, openCityscapes } from './instances.js';

interface Format {
  /** Whether it has parts that can be asked for. */
  parts: boolean;
  /** Whether a path is a set in this layout. */
  matches(root: string): Promise<boolean>;
  open(root: string, options: OpenOptions): Promise<DataSet>;
}

const has =
  (...paths: string[]) =>
  async (root: string): Promise<boolean> => {
    const found = await Promise.all(paths.map((path) => exists(join(root, path))));
    return found.every(Boolean);
  };

/** Whether files of that name are somewhere in a folder. */
const holds =
  (path: string, name: RegExp) =>
  async (root: string): Promise<boolean> =>
    (await isFolder(join(root, path))) && (await walkFiles(join(root, path), name)).length > 0;

const anyOf =
  (...tests: ((root: string) => Promise<boolean>)[]) =>
  async (root: string): Promise<boolean> =>
    (await Promise.all(tests.map((test) => test(root)))).some(Boolean);

const FORMATS: Record<DataFormat, Format> = {
  index: {
    parts: false,
    matches: anyOf(has('index.json'), async (root) => root.endsWith('index.json')),
    open: openIndex,
  },
  coco: {
    parts: true,
    matches: async (root) => (await findAnnotations(root, 'coco')) !== undefined,
    open: openInstances,
  },
  'coco-panoptic': {
    parts: true,
    matches: async (root) => (await findAnnotations(root, 'coco-panoptic')) !== undefined,
    open: openPanoptic,
  },
  lvis: {
    parts: true,
    matches: async (root) => (await findAnnotations(root, 'lvis')) !== undefined,
    open: (root, options) => openInstances(root, options, 'lvis'),
  },
  cityscapes: { parts: true, matches: has('gtFine', 'leftImg8bit'), open: openCityscapes },
  ade20k: {
    parts: true,
    matches: anyOf(
      has('annotations_instance'),
      has('images/ADE'),
      has('images/training', 'annotations/training'),
      has('images/validation', 'annotations/validation'),
      holds('images/training', /_seg\.png$/),
      holds('images/validation', /_seg\.png$/),
      async (root) => (await listFiles(root, /_seg\.png$/)).length > 0,
    ),
    open: openAde20k,
  },
  davis: {
    parts: true,
    matches: anyOf(
      has('JPEGImages', 'Annotations'),
      has('JPEGImages', 'Annotations_unsupervised'),
      has('img', 'gt'),
      has('DAVIS'),
    ),
    open: openDavis,
  },
  davis585: {
    parts: false,
    async matches(root) {
      const files = await Promise.all((await listFolders(root)).map((folder) => listFiles(folder, INITIAL)));
      return files.flat().length > 0;
    },
    open: openDavis585,
  },
  hqseg: {
    parts: true,
    matches: anyOf(
      has('DIS5K/DIS-VD'),
      has('thin_object_detection'),
      has('im', 'gt'),
      has('images', 'masks_max255'),
      has('images_test', 'masks_test'),
      // Else a folder like any other: its name tells.
      async (root) => basename(resolve(root)) === 'COIFT' && has('images', 'masks')(root),
    ),
    open: openHqseg,
  },
  grabcut: { parts: false, matches: has('data_GT', 'boundary_GT'), open: openGrabcut },
  bsds500: {
    parts: true,
    matches: anyOf(has('groundTruth'), has('data/groundTruth'), has('BSDS500/data/groundTruth')),
    open: openBsds500,
  },
  berkeley: { parts: false, matches: has('images', 'ground-truth'), open: openBerkeley },
  folder: { parts: false, matches: has('images', 'masks'), open: openFolder },
};

/**
 * Opens a data set in its public layout. Nothing but lists is read: pictures and masks are when they are asked for.
 * @param format one of DATA_FORMATS (lib/eval/formats.ts), or `auto`: the first whose files are there
 * @throws HrsamError ERR_FILE when it is not there or not in that layout, ERR_ARGUMENT for a part of what has none
 */
export async function openDataSet(
  root: string,
  format: DataFormat | 'auto' = 'auto',
  options: OpenOptions = {},
): Promise<DataSet> {
  if (!(await exists(root))) throw new HrsamError('ERR_FILE', 'there is no such data set', { where: root });
  const name = format === 'auto' ? await detect(root) : format;
  if (!FORMATS[name].parts && options.split !== undefined)
    throw new HrsamError('ERR_ARGUMENT', `a data set in the layout of ${name} has no parts`, {
      where: root,
      expected: 'no split',
      actual: options.split,
    });
  return FORMATS[name].open(root, options);
}

async function detect(root: string): Promise<DataFormat> {
  for (const name of DATA_FORMATS) if (await FORMATS[name].matches(root)) return name;
  const inside = (await isFolder(root)) ? await setsIn(root) : [];
  if (inside.length > 0) {
    throw new HrsamError('ERR_FILE', 'a folder of data sets', {
      where: root,
      expected: `one of them: ${inside.join(', ')}`,
    });
  }
  const layouts = (await isFolder(root))
    ? DATA_FORMATS.join(', ')
    : 'index.json or annotations of COCO or LVIS';
  throw new HrsamError('ERR_FILE', 'no data set in a known layout', { where: root, expected: layouts });
}

/** Folders in a folder that are data sets, for those who name the one around them. */
async function setsIn(root: string): Promise<string[]> {
  const found: string[] = [];
  for (const entry of await readdir(root, { withFileTypes: true })) {
    if (!entry.isDirectory()) continue;
    for (const name of DATA_FORMATS) {
      if (!(await FORMATS[name].matches(join(root, entry.name)))) continue;
      found.push(entry.name);
      break;
    }
  }
  return found.sort();
}
