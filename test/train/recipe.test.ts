import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { describeRecipe, readRecipe } from '../../lib/train/recipe.js';
import { errorOf } from '../support/errors.js';
import { root } from '../support/files.js';
import { tinyFinetuning } from '../support/recipes.js';

const ofPatches = (patch_size: number) => ({
  ...tinyFinetuning.model,
  backbone: { ...tinyFinetuning.model.backbone, patch_size },
});

describe('readRecipe', () => {
  it('fills in what was published', () => {
    const least = { model: 'hrsam-b', size: 1024, batch: 1, steps: 9 };
    const common = {
      accumulate: 1,
      dtype: 'f32',
      learningRate: 1e-4,
      warmup: 1500,
      weightDecay: 0.05,
      clip: 0,
    };
    const clicks = { max: 21, steps: 1, continueProbability: 0.6, refine: 0 };
    expect(readRecipe({ task: 'finetune', ...least })).toMatchObject({
      ...common,
      layerDecay: 1,
      dropPath: 0,
      clicks,
    });
    expect(readRecipe({ task: 'distill', ...least })).toMatchObject({
      ...common,
      layerDecay: 0.9,
      dropPath: 0.2,
    });
  });

  it('reads its own JSON again, the model resolved', () => {
    const recipe = readRecipe(tinyFinetuning);
    expect(recipe.model).toMatchObject({ family: 'hrsam', encoder: { depth: 2, embedDim: 32 } });
    expect(readRecipe(JSON.parse(JSON.stringify(recipe)))).toEqual(recipe);
  });

  it.each<[string, object, string]>([
    ['an unknown task', { task: 'guess' }, 'task'],
    ['an unknown field', { learning_rate: 1 }, 'learning_rate'],
    ['a field below', { clicks: { mots: 3 } }, 'clicks: an unknown field: mots; expected objects, '],
    [
      'more learned clicks than there are',
      { clicks: { max: 2, steps: 3 } },
      'clicks.steps: no more than max',
    ],
    ['an odd size', { size: 100 }, 'size:'],
    ['another odd size', { multiScale: { 100: 0.5 } }, 'multiScale.100:'],
    ['a size of half patches', { model: ofPatches(32), size: 80 }, 'size; expected a multiple of'],
    [
      'another one of half patches',
      { model: ofPatches(32), multiScale: { 96: 0.2, 80: 0.5 } },
      "multiScale.80; expected a multiple of the model's patch size, 32; got 80",
    ],
    ['pictures of one channel', { model: { backbone: { in_dim: 1 } } }, 'encoder.inDim:'],
    ['another size than SAM’s', { model: 'sam-tiny' }, 'size; expected 224, the only side'],
    [
      'several sizes for SAM',
      { model: 'sam-tiny', size: 224, multiScale: { 256: 0.5 } },
      'multiScale.256; expected 224, the only side',
    ],
    ['a size in words', { multiScale: { big: 0.5 } }, 'multiScale.big:'],
    [
      'sizes more often than always',
      { multiScale: { 64: 0.6, 96: 0.5 } },
      'multiScale: shares of more than 1',
    ],
    ['a share above 1', { augment: { flip: 2 } }, 'augment.flip:'],
    [
      'scenes of no size',
      { scenes: { share: 1, sides: [-5, -1] } },
      'scenes.sides[0]: expected at least 16; got -5',
    ],
    [
      'mosaics of no tile',
      { mosaic: { share: 0.5, tiles: [0, 2] } },
      'mosaic.tiles[0]: expected at least 1; got 0',
    ],
    [
      'mosaics of too many tiles',
      { mosaic: { share: 0.5, tiles: [2, 17] } },
      'mosaic.tiles[1]: expected at most 16; got 17',
    ],
    ['scenes upside down', { scenes: { share: 1, sides: [96, 64] } }, 'scenes.sides: the smaller one first'],
    ['no steps', { steps: 0 }, 'steps:'],
    ['none at all', { steps: undefined }, 'steps: is missing'],
    ['no model', { model: undefined }, 'model: is no JSON object'],
    ['words for numbers', { batch: 'two' }, 'batch:'],
    ['a precision there is not', { dtype: 'f16' }, 'dtype:'],
    ['a model without keywords', { model: { layers: 3 } }, 'my.json: model: describes neither'],
    [
      'a preset there is not',
      { model: 'hrsam-z' },
      'my.json: model: there is no preset hrsam-z; expected hrsam-b',
    ],
    [
      'a model that contradicts itself',
      { model: { ...tinyFinetuning.model, neck: { embed_dim: 16 } } },
      'outDim',
    ],
  ])('%s: names the field', async (_, change, text) => {
    const error = await errorOf(() => readRecipe({ ...tinyFinetuning, ...change }, 'my.json'));
    expect(error.code).toBe('ERR_CONFIG');
    expect(error.message).toContain('my.json');
    expect(error.message).toContain(text);
  });

  it.each([null, 3, 'finetune', [], {}])('refuses %j', async (json) => {
    expect(await errorOf(() => readRecipe(json))).toMatchObject({ code: 'ERR_CONFIG' });
  });

  it('says which of the authors’ keywords for trainings it does not know', () => {
    const noted = (change: object, backbone: object) => {
      const notes: string[] = [];
      const model = { ...tinyFinetuning.model, ...change };
      const json = { ...tinyFinetuning, model: { ...model, backbone: { ...model.backbone, ...backbone } } };
      readRecipe(json, 'my.json', (note) => notes.push(note));
      return notes;
    };
    expect(noted({ freeze_backbone: false, train_cfg: null }, { drop_rate: 0, type: 'HRSAMViT' })).toEqual(
      [],
    );
    expect(noted({ train_cfg: { gamma: 0.6 }, freeze_neck: true }, { drop_path_rate: 0.2 })).toEqual([
      expect.stringMatching(/^model: no effect of drop_path_rate, train_cfg, freeze_neck here; see dropPath/),
    ]);
  });

  it('takes SAM at its own size, at any without absolute positions', () => {
    expect(readRecipe({ ...tinyFinetuning, model: 'sam-tiny', size: 224 }).size).toBe(224);
    const model = { image_encoder: { use_abs_pos: false } };
    expect(readRecipe({ ...tinyFinetuning, model, multiScale: { 96: 0.5 } }).size).toBe(64);
  });

  it('says what each field means', () => {
    const bare: string[] = [];
    const visit = (schema: object, path: string): void => {
      for (const [key, value] of Object.entries(schema)) {
        if (typeof value !== 'object' || value === null) continue;
        const fields = key === 'properties' ? Object.entries<{ description?: string }>(value) : [];
        for (const [name, field] of fields) if (!field.description) bare.push(`${path}.${name}`);
        visit(value, key === 'properties' ? path : `${path}.${key}`);
      }
    };
    visit(describeRecipe(), '');
    expect(bare).toEqual([]);
  });

  it('reads the one in the README', () => {
    const [, json] = /```json\n([^`]*)```/.exec(readFileSync(join(root, 'README.md'), 'utf8'))!;
    expect(readRecipe(JSON.parse(json!))).toMatchObject({ task: 'distill', dropPath: 0.1, recompute: true });
  });

  const published = readdirSync(join(root, 'recipes'), { recursive: true, encoding: 'utf8' });

  // Those of the experiment are put together: test/scripts/claim.test.ts.
  const whole = published.filter((name) => name.endsWith('.json') && !name.startsWith('claim'));

  it.each(whole)('recipes/%s is one', (name) => {
    const json = JSON.parse(readFileSync(join(root, 'recipes', name), 'utf8'));
    expect(readRecipe(json, name).steps).toBeGreaterThan(0);
  });
});
