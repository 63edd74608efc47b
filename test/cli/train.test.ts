import { randomUUID } from 'node:crypto';
import { existsSync, readFileSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { duration } from '../../lib/cli/train.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { Rng } from '../../lib/rng.js';
import type { ChildResult } from '../support/child.js';
import { scratch } from '../support/files.js';
import { tinyDistillation, tinyFinetuning } from '../support/recipes.js';
import { discSet } from '../support/sets.js';
import { hrsam, hrsamJson } from './support.js';

const path = scratch('hrsam-cli-');
const EVERY_STEP = ['--every', '0.0000001', '-d', 'cpu'];

const begin = (out: string) => [
  'train',
  'finetune',
  '--config',
  path('recipe.json'),
  '--data',
  path('discs'),
  '--out',
  out,
];
const resume = (out: string) => ['train', 'finetune', '--resume', '--data', path('discs'), '--out', out];

const logged = (out: string): number => {
  try {
    return readFileSync(`${out}/log.jsonl`, 'utf8').split('\n').length - 1;
  } catch {
    return 0;
  }
};

/** Runs a training that gets a signal soon after its first new step. */
async function interrupted(
  args: string[],
  out: string,
  signal: 'SIGKILL' | 'SIGINT',
  delay: number,
): Promise<ChildResult> {
  const before = logged(out);
  let ended = false;
  const result = hrsam([...args, ...EVERY_STEP], {
    async started(child) {
      while (!ended && logged(out) <= before) await sleep(2);
      await sleep(delay);
      child.kill(signal);
    },
  });
  return result.finally(() => {
    ended = true;
  });
}

beforeAll(async () => {
  writeFileSync(path('recipe.json'), JSON.stringify({ ...tinyFinetuning, steps: 8 }));
  await discSet(
    path('discs'),
    [220, 60, 40],
    [40, 90, 200],
    [
      [64, 64],
      [80, 60],
    ],
  );
  const { code, stderr } = await hrsam([...begin(path('whole')), '-d', 'cpu']);
  expect([code, stderr]).toEqual([
    0,
    expect.stringMatching(/^step 1 of 8 .* samples\/s {2}\d+ (s|min) left\n(step .*\n)*$/),
  ]);
}, 120_000); // builds dist/ where nobody has

const expectSame = (out: string) => {
  for (const file of ['checkpoint.safetensors', 'model.safetensors'])
    expect(readFileSync(`${out}/${file}`).equals(readFileSync(`${path('whole')}/${file}`))).toBe(true);
};

describe('hrsam train schema', () => {
  it('tells every field of a recipe, what it is for and what it is without being told', async () => {
    const { oneOf } = JSON.parse((await hrsam(['train', 'schema'])).stdout);
    for (const { properties, required } of oneOf) {
      for (const [name, field] of Object.entries<{ description?: string }>(properties))
        expect([name, field.description]).toEqual([name, expect.stringMatching(/\w{3}/)]);
      expect(required).toEqual(expect.arrayContaining(['task', 'size', 'batch', 'steps']));
      expect(properties.learningRate).toMatchObject({ type: 'number', default: 1e-4 });
    }
    const [finetune] = oneOf;
    for (const [name, field] of Object.entries<{ description?: string }>(
      finetune.properties.clicks.properties,
    ))
      expect([name, field.description]).toEqual([name, expect.any(String)]);
  });

  it('says how long it takes in words', () => {
    expect([12, 60, 3599, 7500, 90_000, 300_000].map(duration)).toEqual([
      '12 s',
      '1 min',
      '1 h 0 min',
      '2 h 5 min',
      '25 h 0 min',
      '3 d 11 h',
    ]);
  });
});

describe('hrsam train finetune', () => {
  it('gives the same weights however often it is killed', { timeout: 120_000 }, async () => {
    const out = path('killed');
    const draws = new Rng(5);
    let kills = 0;
    let args = begin(out);
    for (;;) {
      const { code, stderr } = await interrupted(args, out, 'SIGKILL', draws.uniform(0, 120));
      if (code === 0) break;
      expect([code, stderr]).toEqual([null, expect.not.stringContaining('hrsam:')]);
      kills++;
      args = resume(out);
    }
    expect(kills).toBeGreaterThanOrEqual(3);
    expectSame(out);
  });

  it('saves on Ctrl-C and goes on with --resume', async () => {
    const out = path('stopped');
    const { code, stdout } = await interrupted(begin(out), out, 'SIGINT', 0);
    expect([code, stdout]).toEqual([0, `${out}: stopped; --resume goes on\n`]);
    const steps = readFileSync(`${out}/log.jsonl`, 'utf8').trim().split('\n');
    expect(JSON.parse(steps.at(-1)!).step).toBeLessThan(8);
    expect(await hrsam([...resume(out), '-d', 'cpu'])).toMatchObject({ code: 0, stdout: `${out}: done\n` });
    expectSame(out);
  });

  it('judges what it saves, keeps the best, and trains as without', { timeout: 120_000 }, async () => {
    const out = path('validated');
    const validate = ['--validate', path('discs'), '--validate-objects', '2', ...EVERY_STEP];
    const first = await interrupted([...begin(out), ...validate], out, 'SIGINT', 0);
    expect(first.code).toBe(0);
    const { code, stderr } = await hrsam([...resume(out), ...validate]);
    expect([code, stderr]).toEqual([0, expect.stringMatching(/step 8: validation iou 0\.\d+, miou 0\.\d+/)]);
    expectSame(out);
    const lines = readFileSync(`${out}/validation.jsonl`, 'utf8').trim().split('\n');
    const judged = lines.map((line) => JSON.parse(line) as { step: number; iou: number; miou: number });
    const steps = judged.map(({ step }) => step);
    expect(steps).toEqual([...new Set(steps)].sort((a, b) => a - b));
    expect([steps[0], steps.at(-1)]).toEqual([0, 8]);
    const figures = await hrsamJson(
      ['eval', `${out}/best.safetensors`, '--data', path('discs'), '--limit', '2'].concat(['--clicks', '5']),
    );
    const { miou, iouAtClicks } = figures;
    expect(Math.max(...judged.map((line) => line.miou))).toBeCloseTo(miou, 6);
    expect(judged.find((line) => line.miou === miou)?.iou).toBeCloseTo(iouAtClicks[1], 6);
  });

  it('is not begun where there is nothing to judge it on', async () => {
    const out = path('nothing');
    const { code, stderr } = await hrsam([...begin(out), '--validate', path('nowhere'), '-d', 'cpu']);
    expect([code, stderr]).toEqual([1, expect.stringContaining('there is no such data set')]);
    expect(existsSync(out)).toBe(false);
  });

  it('writes a model that can be judged', async () => {
    const model = `${path('whole')}/model.safetensors`;
    const figures = await hrsamJson(['eval', model, '--data', path('discs'), '--clicks', '2', '-d', 'cpu']);
    expect(figures).toMatchObject({ masks: 2, model: { family: 'hrsam', trained: true } });
  });

  it.each<[string, string[], number, string]>([
    ['no recipe', ['--out', 'x'], 2, 'a recipe is needed'],
    [
      'a recipe to go on with',
      ['--out', 'x', '--config', 'r.json', '--resume'],
      2,
      'leave --config and --init out',
    ],
    ['no folder', ['--config', 'r.json'], 2, "required option '--out <folder>'"],
    ['a pause of nothing', ['--out', 'x', '--every', '0'], 2, 'Expected minutes'],
    ['a recipe that is not there', ['--out', 'x', '--config', '/none.json'], 1, '/none.json: does not exist'],
    [
      'a folder with nothing to go on with',
      ['--out', '/none', '--resume'],
      1,
      '/none/checkpoint.safetensors',
    ],
    ['a device twice', ['--out', 'x', '--resume', '-d', 'cpu,cpu:0'], 1, 'given twice; expected one device'],
    ['devices of two kinds', ['--out', 'x', '--resume', '-d', 'cpu,cuda'], 1, 'devices of different kinds'],
    ['auto and another', ['--out', 'x', '--resume', '-d', 'auto,cpu'], 1, 'auto is one device'],
    ['half a list of devices', ['--out', 'x', '--resume', '-d', 'cpu,'], 1, 'a name is missing'],
    ['a device there is not', ['--out', 'x', '--resume', '-d', 'cpu,cpu:1'], 1, 'there is only cpu:0'],
  ])('%s: exit code and one line', async (_, args, code, text) => {
    const result = await hrsam(['train', 'finetune', '-d', 'cpu', ...args]);
    expect([result.code, result.stderr]).toEqual([code, expect.stringContaining(text)]);
    expect(result.stderr.trim().split('\n')).toHaveLength(1);
  });
});

describe('hrsam embed and hrsam train distill', () => {
  const embed = (...args: string[]) =>
    hrsam(['embed', path('discs'), '-w', 'random:hrsam-tiny', '-o', path('taught'), '-d', 'cpu', ...args]);
  const file = (i: number) => path(`taught/images/${i}.png.safetensors`);

  it('embeds a folder; again only what is missing', async () => {
    expect((await embed('--size', '64')).stdout).toMatch(
      /taught {2}2 embedded, 0 there already, 0 left out in/,
    );
    const before = readFileSync(file(0));
    rmSync(file(0));
    expect((await embed('--size', '64')).stdout).toContain('1 embedded, 1 there already');
    expect(readFileSync(file(0)).equals(before)).toBe(true);
    // What a process that was killed left, what another is writing, and what is somebody else's.
    const [stale, fresh] = [0, 1].map(() => path(`taught/images/.${randomUUID()}.part`)) as [string, string];
    const others = path('taught/mine.part');
    for (const name of [stale, fresh, others]) writeFileSync(name, '');
    for (const name of [stale, others]) utimesSync(name, 0, 0);
    expect((await embed('--size', '64')).stdout).toContain('0 embedded, 2 there already');
    expect([stale, fresh, others].map((name) => existsSync(name))).toEqual([false, true, true]);
    writeFileSync(path('discs/images/bad.png'), 'no picture');
    const index = JSON.parse(readFileSync(path('discs/index.json'), 'utf8'));
    const more = [...index, { image: 'images/bad.png', mask: 'images/0_mask.png' }, null];
    writeFileSync(path('discs/index.json'), JSON.stringify(more));
    const { stdout, stderr } = await embed('--size', '64', '--json');
    const figures = JSON.parse(stdout);
    expect(figures).toMatchObject({
      pictures: 3,
      embedded: 0,
      complete: 2,
      size: 64,
      model: { trained: false },
    });
    expect(figures.leftOut).toHaveLength(2);
    expect(stderr.match(/left out: /g)).toHaveLength(2);
    writeFileSync(path('discs/index.json'), JSON.stringify(index));
    expect(await embed('--size', '128')).toMatchObject({
      code: 1,
      stderr: expect.stringContaining('another size'),
    });
  });

  it('brings a student ten times closer to its teacher', async () => {
    writeFileSync(
      path('distill.json'),
      JSON.stringify({
        ...tinyDistillation,
        steps: 300,
        warmup: 10,
        learningRate: 3e-3,
        emaDecay: 0.9,
        clip: 1,
      }),
    );
    const args = ['--config', path('distill.json'), '--data', path('discs'), '--teacher', path('taught')];
    const out = path('student');
    const { code, stdout } = await hrsam(['train', 'distill', ...args, '--out', out, '-d', 'cpu']);
    expect([code, stdout]).toEqual([0, `${out}: done\n`]);
    const [first, ...others] = readFileSync(`${out}/log.jsonl`, 'utf8').trim().split('\n');
    expect(JSON.parse(others.at(-1)!).loss).toBeLessThan(JSON.parse(first!).loss / 10);
    using teacher = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
    using student = await HRSAM.load(`${out}/model.safetensors`, { device: 'cpu' });
    using taught = await teacher.loadEmbedding(file(1));
    using made = await student.encode(path('discs/images/1.png'), { size: 64 });
    const [target, values] = [await taught.embedding.data(), await made.embedding.data()] as Float32Array[];
    let [error, square] = [0, 0];
    target!.forEach((value, i) => {
      error += (values![i]! - value) ** 2;
      square += value ** 2;
    });
    expect(error).toBeLessThan(square / 10);
  });

  it('needs a teacher for each set', async () => {
    const { code, stderr } = await hrsam([
      'train',
      'distill',
      '--config',
      'r.json',
      '--data',
      'x',
      '--out',
      'y',
    ]);
    expect([code, stderr]).toEqual([2, expect.stringContaining('a teacher is needed')]);
  });
});
