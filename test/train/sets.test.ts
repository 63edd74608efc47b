import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { type FinetuneRecipe, readRecipe } from '../../lib/train/recipe.js';
import { FolderSource } from '../../lib/train/samples/folder_source.js';
import { Mixture, type Sample } from '../../lib/train/samples/mixture.js';
import { SceneSource } from '../../lib/train/samples/scene_source.js';
import { openSamples } from '../../lib/train/sets.js';
import { codeOf, errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { noAugmentation, sampleDigest } from '../support/samples.js';
import { BLUE, discSet, RED } from '../support/sets.js';

const root = scratch('hrsam-sets-')();

beforeAll(async () => {
  await discSet(join(root, 'red'), RED, BLUE, [
    [300, 256],
    [256, 320],
  ]);
});

const CACHE = { cacheBytes: 2 ** 24, objects: 4 };

function recipe(change: object): FinetuneRecipe {
  const augment = noAugmentation;
  const json = { task: 'finetune', model: 'hrsam-tiny', size: 96, batch: 1, steps: 1, augment, ...change };
  return readRecipe(json) as FinetuneRecipe;
}

async function eight(change: object, roots = [root]): Promise<Sample[]> {
  const { sample } = await openSamples(recipe(change), roots, CACHE);
  return Promise.all([...Array(8).keys()].map((k) => sample(k)));
}

const objects = async (change: object) => (await eight(change)).map(({ others }) => 1 + others.length);

describe('openSamples', () => {
  it('makes mosaics as often as the recipe says, of sets and of scenes', async () => {
    const none = { scenes: { share: 0 } };
    expect(await objects(none)).toEqual(Array(8).fill(1));
    const tiles = [2, 2];
    expect(await objects({ ...none, mosaic: { share: 1, tiles } })).toEqual(Array(8).fill(4));
    const some = await objects({ ...none, mosaic: { share: 0.5, tiles } });
    expect(new Set(some)).toEqual(new Set([1, 4]));
    const scenes = { share: 1, sides: [400, 480] };
    const square = (samples: Sample[]) => samples.every(({ width, height }) => width === height);
    expect(square(await eight({ scenes }, []))).toBe(false);
    expect(square(await eight({ scenes, mosaic: { share: 1, tiles } }, []))).toBe(true);
  });

  it('makes the samples of a recipe without mosaics as sets and scenes alone would', async () => {
    const sets = await FolderSource.open(join(root, 'red'));
    const scenes = new SceneSource({ sides: [256, 512] });
    const weighted = [
      { source: sets, weight: 0.8 },
      { source: scenes, weight: 0.2 },
    ];
    const alone = new Mixture(weighted, { seed: 0, size: 96, augment: noAugmentation, objects: 4 });
    const expected = await Promise.all([...Array(8).keys()].map((k) => alone.sample(k)));
    expect((await eight({})).map(sampleDigest)).toEqual(expected.map(sampleDigest));
    expect((await eight({ seed: 1 })).map(sampleDigest)).not.toEqual(expected.map(sampleDigest));
  });

  it('makes them of other sizes too', async () => {
    const { sample } = await openSamples(recipe({ multiScale: { 160: 0.5 } }), [root], CACHE);
    for (const size of [96, 160]) {
      const { image, mask } = await sample(3, size);
      expect([image.width, image.height, mask.length]).toEqual([size, size, size * size]);
    }
    expect(sampleDigest(await sample(3))).toEqual(sampleDigest(await sample(3, 96)));
  });

  it('says which sets the recipe does not name, and refuses to use none', async () => {
    await discSet(join(root, 'green'), BLUE, RED, [[64, 64]]);
    const noted = async (sets?: Record<string, number>) => {
      const notes: string[] = [];
      await openSamples(recipe({ sets }), [root], { ...CACHE, onNote: (note) => notes.push(note) });
      return notes;
    };
    expect([await noted(), await noted({ red: 1, green: 0 })]).toEqual([[], []]);
    expect(await noted({ red: 1 })).toEqual([expect.stringMatching(/^not used, .*: green$/)]);
    for (const sets of [{}, { red: 0, green: 0 }]) {
      const { code, message } = await errorOf(() => openSamples(recipe({ sets }), [root], CACHE));
      expect([code, message]).toEqual([
        'ERR_CONFIG',
        expect.stringContaining('more than 0 for one of green, red'),
      ]);
    }
    rmSync(join(root, 'green'), { recursive: true });
  });

  it.each(['red/.', 'red/images/..'])('knows a set by the name of its folder: %s', async (path) => {
    const { sets } = await openSamples(recipe({ sets: { red: 1 } }), [`${root}/${path}`], CACHE);
    expect(sets).toEqual(['red: 2 objects']);
  });

  it('refuses sets that are not there, and folders without any', async () => {
    const unknown = () => openSamples(recipe({ sets: { red: 1, green: 1 } }), [root], CACHE);
    expect(await codeOf(unknown)).toBe('ERR_CONFIG');
    expect(await codeOf(() => openSamples(recipe({}), [join(root, 'red/images')], CACHE))).toBe('ERR_FILE');
  });
});
