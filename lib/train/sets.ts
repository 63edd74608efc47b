import { basename, resolve } from 'node:path';
import { indexedFolders } from '../data/pictures.js';
import { HrsamError } from '../errors.js';
import type { FinetuneRecipe } from './recipe.js';
import { FolderSource, MAX_SIDE } from './samples/folder_source.js';
import { Mixture, type Sample } from './samples/mixture.js';
import { MosaicSource } from './samples/mosaic_source.js';
import { SceneSource } from './samples/scene_source.js';
import type { WeightedSource } from './samples/source.js';

export interface SetsOptions {
  /** Decoded pictures kept in memory, in bytes. */
  cacheBytes: number;
  /** Objects of a picture that are labelled, at most. Default 1. */
  objects?: number;
  /** Called once for each entry that cannot be used. */
  onCorrupt?: (error: HrsamError) => void;
  /** Something the user should know. */
  onNote?: (note: string) => void;
}

/** @throws HrsamError ERR_FILE when there is none */
async function setFolders(root: string): Promise<string[]> {
  const folders = await indexedFolders(root);
  if (folders.length > 0) return folders;
  throw new HrsamError('ERR_FILE', 'no data set', {
    where: root,
    expected: 'index.json, or folders with one',
  });
}

const setName = (folder: string): string => basename(resolve(folder));

/** A set as a checkpoint remembers it; where its folder lies does not matter. */
export const setLine = (folder: string, count: number, what: string): string =>
  `${setName(folder)}: ${count} ${what}`;

export interface Samples {
  /** Makes sample `index`, of the recipe's size or another. */
  sample(index: number, size?: number): Promise<Sample>;
  /** What they are drawn from. */
  sets: string[];
}

/**
 * The samples that a recipe asks for.
 * @param roots folders of sets; none: scenes alone
 * @throws HrsamError ERR_FILE for a folder without sets, ERR_CONFIG when the recipe names a set that is not there
 */
export async function openSamples(
  recipe: FinetuneRecipe,
  roots: readonly string[],
  { cacheBytes, objects, onCorrupt, onNote }: SetsOptions,
): Promise<Samples> {
  const folders = (await Promise.all(roots.map(setFolders))).flat();
  const { sets, scenes, mosaic, size, multiScale, seed, augment } = recipe;
  const maxSide = Math.max(MAX_SIDE, size, ...Object.keys(multiScale).map(Number));
  const names = folders.map(setName);
  const unknown = Object.keys(sets ?? {}).filter((name) => !names.includes(name));
  if (unknown.length > 0)
    throw new HrsamError('ERR_CONFIG', `sets: ${unknown.join(', ')}`, {
      where: 'recipe',
      expected: names.join(', ') || 'no set without data',
    });
  const opened: WeightedSource[] = [];
  const lines: string[] = [];
  for (const folder of folders) {
    const share = sets ? (sets[setName(folder)] ?? 0) : 1;
    if (share === 0) continue;
    const options = { maxSide, cacheBytes: cacheBytes / folders.length, onCorrupt };
    const source = await FolderSource.open(folder, options);
    opened.push({ source, weight: sets ? share : Math.sqrt(source.size) });
    lines.push(setLine(folder, source.size, 'objects'));
  }
  if (folders.length > 0 && opened.length === 0)
    throw new HrsamError('ERR_CONFIG', 'sets', {
      where: 'recipe',
      expected: `more than 0 for one of ${names.join(', ')}`,
      actual: JSON.stringify(sets),
    });
  const unnamed = names.filter((name) => sets && !Object.hasOwn(sets, name));
  if (unnamed.length > 0)
    onNote?.(`not used, since the recipe's sets do not name them: ${unnamed.join(', ')}`);
  const all = opened.reduce((sum, { weight }) => sum + weight, 0);
  const scene = new SceneSource({ sides: scenes.sides });
  const single =
    all === 0
      ? [{ source: scene, weight: 1 }]
      : [...scaled(opened, (1 - scenes.share) / all), { source: scene, weight: scenes.share }];
  const tiled = new MosaicSource(all === 0 ? single : opened, mosaic);
  const sources = [...scaled(single, 1 - mosaic.share), { source: tiled, weight: mosaic.share }];
  const mixture = new Mixture(sources, { seed, size, augment, objects });
  return { sample: (index, side) => mixture.sample(index, side), sets: lines };
}

const scaled = (sources: readonly WeightedSource[], factor: number): WeightedSource[] =>
  sources.map(({ source, weight }) => ({ source, weight: weight * factor }));
