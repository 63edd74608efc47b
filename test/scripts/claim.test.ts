import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { describe, expect, it } from 'vitest';
import { decodeImage } from '../../lib/image/decode.js';
import { readRecipe } from '../../lib/train/recipe.js';
import type { HrsamConfig } from '../../lib/weights/config.js';
import { root, scratch } from '../support/files.js';

const load = (name: string) => import(pathToFileURL(join(root, 'scripts/claim', name)).href);
const { readExperiment, scaled, stageRecipe } = await load('recipes.mjs');
const { markdown, summarise } = await load('report.mjs');
const { plotSvg, renderPlot } = await load('plot.mjs');
const { once, Stopped, trained } = await load('steps.mjs');

const at = scratch('hrsam-claim-');

interface Variant {
  name: string;
  title: string;
  teacher?: boolean;
}

const { recipe, variants } = readExperiment(root) as { recipe: never; variants: Variant[] };
const names = variants.map(({ name }) => name);

describe('the recipes of the claim', () => {
  const model = (variant: Variant, stage: string) =>
    readRecipe(stageRecipe(recipe, variant, stage)).model as HrsamConfig;

  it('differ in attention, scan and scales alone', () => {
    expect(names).toEqual(['global', 'swin', 'padded', 'scan', 'scales']);
    expect(variants.map(({ teacher }) => teacher ?? false)).toEqual([true, false, false, false, false]);
    const told = variants.map((variant) => {
      const { encoder } = model(variant, 'teach');
      const { attention, cycles, downsampleSizes } = encoder;
      return [attention[0], attention[1], cycles, downsampleSizes];
    });
    expect(told).toEqual([
      ['global', 'global', 0, []],
      ['plain', 'swin', 0, []],
      ['plain', 'shifted', 0, []],
      ['plain', 'shifted', 3, []],
      ['plain', 'shifted', 3, [[128, 128]]],
    ]);
    const rest = variants.map((variant) => {
      const { encoder, variant: _, ...others } = model(variant, 'distill');
      const { attention, cycles, downsampleSizes, ...same } = encoder;
      return { ...others, same };
    });
    for (const each of rest) expect(each).toEqual(rest[0]);
  });

  it('are trained by one recipe, of which there may be more or fewer steps', () => {
    const tasks = ['teach', 'distill', 'finetune'].map(
      (stage) => readRecipe(stageRecipe(recipe, variants[3], stage)).task,
    );
    expect(tasks).toEqual(['finetune', 'distill', 'finetune']);
    expect(scaled(recipe, undefined)).toBe(recipe);
    const { teach, distill, finetune } = scaled(recipe, 7);
    expect([teach.steps, distill.steps, finetune.steps]).toEqual([15, 7, 1]);
    expect(teach.warmup).toBeLessThan(teach.steps);
    const none = { ...(recipe as object), finetune: { steps: 0, warmup: 0 } };
    expect(scaled(none, 7).finetune.steps).toBe(0);
  });
});

/** What `hrsam eval --json` prints, as far as it is read. */
const evaluation = (masks: number, ious: [number, number][]) => {
  const runs = ious.map(([one, five], i) => ({
    masks,
    iouAtClicks: { 1: one, 5: five },
    flopsPerImage: 1e9 * 4 ** i,
  }));
  return { ...runs[0], runs };
};

const found = Object.fromEntries(
  names.map((name, k) => [
    name,
    {
      parameters: 1_750_000 + k,
      times: { 256: 10 + k, 512: 40, 1024: 10 * (10 + k) },
      sets: {
        horses: evaluation(3, [
          [0.5, 0.6 + 0.01 * k],
          [0.4, 0.5],
          [0.3, 0.4],
        ]),
        cats: evaluation(1, [
          [0.9, 1],
          [0.8, 0.9],
          [0.7, 0.8],
        ]),
      },
    },
  ]),
);

describe('the report', () => {
  const result = summarise({ recipe, variants, machine: 'an abacus' }, found);

  it('takes means over the objects of all sets', () => {
    expect(result).toMatchObject({ sizes: [256, 512, 1024], clicks: 5, machine: 'an abacus' });
    expect(result.variants.map(({ name }: Variant) => name)).toEqual(names);
    const [{ results, sets, parameters }] = result.variants;
    expect(parameters).toBe(1_750_000);
    expect(results.map(({ masks }: { masks: number }) => masks)).toEqual([4, 4, 4]);
    expect(results[0].iouAtClicks[5]).toBeCloseTo((3 * 0.6 + 1) / 4, 12);
    expect(results[2]).toMatchObject({ size: 1024, ms: 100, gflop: 16 });
    expect(sets.cats[1].iouAtClicks[1]).toBe(0.8);
    expect(JSON.parse(JSON.stringify(result))).toEqual(result);
  });

  it('leaves a set without objects out of the means', () => {
    const empty = { ...evaluation(0, [[Number.NaN, Number.NaN]]), runs: undefined };
    const one = { ...evaluation(2, [[0.25, 0.75]]), runs: undefined };
    const sets = { none: empty, some: one };
    const small = { ...(recipe as object), judge: { clicks: 5, scales: [1] } };
    const alone = Object.fromEntries(names.map((name) => [name, { parameters: 1, times: { 256: 1 }, sets }]));
    const { variants: found } = summarise({ recipe: small, variants, machine: '' }, alone);
    expect(found[4].results).toEqual([
      { size: 256, masks: 2, iouAtClicks: { 1: 0.25, 5: 0.75 }, ms: 1, gflop: 1 },
    ]);
  });

  it('is a table of all models, and one by set', () => {
    const text: string = markdown(result);
    const row = (title: string) => text.split('\n').filter((line) => line.startsWith(`| ${title} |`));
    for (const { title } of variants) expect(row(title)).toHaveLength(2);
    expect(row(variants[1]!.title)[0]).toBe(
      `| ${variants[1]!.title} | 1.75 M | 0.600 / 0.500 / 0.400 | 0.708 / 0.600 / 0.500 | 11.0 / 40.0 / 110 | 10.0 × | 1.00 / 4.00 / 16.0 |`,
    );
    expect(text).toContain('|  | horses (3) | cats (1) |');
    expect(text).toContain('an abacus');
    expect(text).not.toMatch(/NaN|undefined/);
  });

  it('is a picture with a line for each model in each half', async () => {
    const svg: string = plotSvg(result);
    expect(svg.match(/<polyline/g)).toHaveLength(2 * variants.length);
    for (const { title } of variants) expect(svg).toContain(`>${title}<`);
    expect(svg).not.toMatch(/NaN|undefined|Infinity/);
    // The slowest is the highest on the right: y grows downwards.
    const last = [...svg.matchAll(/points="([^"]*)"/g)].map(([, points]) =>
      Number(points!.split(/[ ,]/).at(-1)),
    );
    const times = last.slice(variants.length);
    expect(times).toEqual(times.toSorted((a, b) => b - a));
    for (const y of last) expect(y).toSatisfy((at: number) => at >= 48 && at <= 400);
    const { width, height } = await decodeImage(await renderPlot(result));
    expect([width, height]).toEqual([1080, 490]);
  });
});

describe('a step', () => {
  it('is done once', async () => {
    const path = at('a', 'made.json');
    let times = 0;
    const make = async () => ({ times: ++times });
    expect(await once(path, 'a step', make)).toEqual({ times: 1 });
    expect(await once(path, 'a step', make)).toEqual({ times: 1 });
    await expect(once(at('b.json'), 'a step', () => Promise.reject(new Error('no')))).rejects.toThrow('no');
    expect(await once(at('b.json'), 'a step', make)).toEqual({ times: 2 });
  });

  it('of training goes on until all steps are taken', async () => {
    // Stands for the command line: each run takes two steps.
    const cli = at('cli.mjs');
    writeFileSync(
      cli,
      `import { appendFileSync, existsSync, readFileSync, writeFileSync } from 'node:fs';
      const out = process.argv[process.argv.indexOf('--out') + 1];
      const log = out + '/log.jsonl';
      const step = 2 + (existsSync(log) ? readFileSync(log, 'utf8').trim().split('\\n').length * 2 : 0);
      appendFileSync(log, JSON.stringify({ step }) + '\\n');
      appendFileSync(out + '/args', process.argv.slice(2).join(' ') + '\\n');
      writeFileSync(out + '/checkpoint.safetensors', '');`,
    );
    const folder = at('training');
    const train = () => trained(cli, folder, 'training', { task: 'distill', steps: 4 }, ['--data', 'd'], 'w');
    await expect(train()).rejects.toBeInstanceOf(Stopped);
    for (let again = 0; again < 2; again++) expect(await train()).toBe(join(folder, 'model.safetensors'));
    const config = join(folder, 'recipe.json');
    expect(readFileSync(join(folder, 'args'), 'utf8').trim().split('\n')).toEqual([
      `train distill --out ${folder} --data d --config ${config} --init w`,
      `train distill --out ${folder} --data d --resume`,
    ]);
    expect(JSON.parse(readFileSync(config, 'utf8'))).toEqual({ task: 'distill', steps: 4 });
  });
});
