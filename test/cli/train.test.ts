import { readFileSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { Draws } from '../../lib/draws.js';
import { tinyFinetuning } from '../support/recipes.js';
import { discSet } from '../support/sets.js';
import { type CliResult, hrsam, hrsamJson, scratch } from './support.js';

const path = scratch();
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
): Promise<CliResult> {
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
  expect([code, stderr]).toEqual([0, expect.stringMatching(/^(step .*\n)*$/)]);
}, 120_000); // builds dist/ where nobody has

const expectSame = (out: string) => {
  for (const file of ['checkpoint.safetensors', 'model.safetensors'])
    expect(readFileSync(`${out}/${file}`).equals(readFileSync(`${path('whole')}/${file}`))).toBe(true);
};

describe('hrsam train finetune', () => {
  it('gives the same weights however often it is killed', { timeout: 120_000 }, async () => {
    const out = path('killed');
    const draws = new Draws(5);
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
  ])('%s: exit code and one line', async (_, args, code, text) => {
    const result = await hrsam(['train', 'finetune', ...args, '-d', 'cpu']);
    expect([result.code, result.stderr]).toEqual([code, expect.stringContaining(text)]);
    expect(result.stderr.trim().split('\n')).toHaveLength(1);
  });
});
