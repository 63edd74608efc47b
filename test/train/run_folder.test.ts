import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { RunFolder } from '../../lib/train/run_folder.js';

let folder: RunFolder;

beforeAll(async () => {
  folder = new RunFolder(await mkdtemp(join(tmpdir(), 'hrsam-run-')));
});

afterAll(() => rm(folder.path, { recursive: true, force: true }));

it('keeps the model of the best validation, the first of equals', async () => {
  const kept: [boolean, string][] = [];
  for (const [step, miou] of [0.5, 0.7, 0.6, 0.7, 0.8].entries()) {
    await writeFile(folder.model, `model ${step}`);
    kept.push([await folder.judged(step, { iou: 0.4, miou }), await readFile(folder.best, 'utf8')]);
  }
  expect(kept).toEqual([
    [true, 'model 0'],
    [true, 'model 1'],
    [false, 'model 1'],
    [false, 'model 1'],
    [true, 'model 4'],
  ]);
  expect((await folder.validations()).map(({ step, miou }) => [step, miou])).toEqual([
    [0, 0.5],
    [1, 0.7],
    [2, 0.6],
    [3, 0.7],
    [4, 0.8],
  ]);
});
