import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, it } from 'vitest';
import { RunFolder } from '../../lib/train/run_folder.js';
import { errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';

const folder = new RunFolder(scratch('hrsam-run-')());

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

it.each(['log.jsonl', 'validation.jsonl'])('says that %s cannot be written', async (name) => {
  const broken = new RunFolder(join(folder.path, `no ${name}`));
  await mkdir(join(broken.path, name), { recursive: true });
  await writeFile(broken.model, 'model');
  const line = { step: 1, loss: 1, rate: 1, speed: 1 };
  const write = () => (name === 'log.jsonl' ? broken.append(line) : broken.judged(1, { iou: 1, miou: 0 }));
  const { code, message } = await errorOf(write);
  expect([code, message]).toEqual(['ERR_FILE', expect.stringMatching(`${name}: cannot be written .EISDIR`)]);
});
