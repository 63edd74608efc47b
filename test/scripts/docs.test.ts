import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';

const files = ['.', 'weights', 'docs', 'bench', 'bench/results'].flatMap((folder) =>
  readdirSync(folder)
    .filter((name) => name.endsWith('.md'))
    .map((name) => join(folder, name)),
);

describe('tables of the documents', () => {
  it.each(files)('%s: every row has as many cells as its header', (file) => {
    let cells = 0;
    for (const [i, line] of readFileSync(file, 'utf8').split('\n').entries()) {
      const count = line.startsWith('|') ? line.split('|').length : 0;
      if (cells > 0 && count > 0) expect(`${file}:${i + 1} ${count}`).toBe(`${file}:${i + 1} ${cells}`);
      cells = count;
    }
  });
});

describe("the included model's card", () => {
  it('names the terms of every set that its recipes draw from', () => {
    const card = readFileSync('weights/README.md', 'utf8');
    const rows = card.slice(card.indexOf('## Data'), card.indexOf('## How it was trained'));
    const names: Record<string, string> = {
      ecssd: 'ECSSD',
      bsds_objects: 'BSDS500',
      clothing: 'Clothing',
      weizmann_horses: 'Weizmann',
      feral_cats: 'feral cats',
      coco_tiny: 'COCO',
      camvid: 'CamVid',
      cwfid: 'CWFID',
      carrot_hires: 'carrots',
    };
    for (const recipe of readdirSync('recipes/hrsam-s')) {
      const { sets } = JSON.parse(readFileSync(join('recipes/hrsam-s', recipe), 'utf8'));
      for (const set of Object.keys(sets)) expect(rows).toMatch(new RegExp(`^\\| ${names[set]}`, 'm'));
    }
  });
});
