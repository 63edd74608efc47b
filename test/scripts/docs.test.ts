import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import ts from 'typescript';
import { describe, expect, it } from 'vitest';
import type { EncodeOptions, EverythingOptions, LoadOptions, SegmentRequest } from '../../lib/index.js';

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

describe('the API in the README', () => {
  type Options = LoadOptions & Omit<EncodeOptions, 'divisor'> & SegmentRequest & EverythingOptions;
  const options: Record<keyof Options, true> = {
    device: true,
    dtype: true,
    config: true,
    threads: true,
    onProgress: true,
    size: true,
    coarseToFine: true,
    zoom: true,
    signal: true,
    points: true,
    labels: true,
    box: true,
    boxes: true,
    mask: true,
    multimask: true,
    refinements: true,
    minRegion: true,
    pointsPerSide: true,
    minScore: true,
    minStability: true,
    maxOverlap: true,
  };

  it('has every option in a table', () => {
    const rows = readFileSync('README.md', 'utf8')
      .match(/^\| `.*$/gm)!
      .map((row) => row.split('|')[1]!);
    const named = rows.flatMap((cell) => [...cell.matchAll(/`(\w+)`/g)].map(([, name]) => name));
    expect(named).toEqual(expect.arrayContaining(Object.keys(options)));
  });
});

describe('TypeScript in the README', () => {
  const blocks = [...readFileSync('README.md', 'utf8').matchAll(/```ts\n([^`]*)```/g)].map(
    ([, code]) => code!,
  );
  // Those without imports go on where the first one ends.
  const [first, ...rest] = blocks as [string, ...string[]];
  const onItsOwn = (code: string) => code.includes('import ');
  const followed = [first, ...rest.filter((code) => !onItsOwn(code)).map((code) => `{\n${code}}\n`)].join('');
  const sources = new Map(
    [followed, ...rest.filter(onItsOwn)].map((code, i) => [resolve(`readme-${i}.ts`), code]),
  );

  it('compiles', { timeout: 120_000 }, () => {
    expect(blocks.length).toBeGreaterThan(3);
    const json = ts.readConfigFile('tsconfig.json', ts.sys.readFile).config;
    const { options } = ts.parseJsonConfigFileContent(json, ts.sys, resolve('.'));
    // As strict as users are.
    const usual = { noUnusedLocals: false, noUncheckedIndexedAccess: false };
    const settings = { ...options, ...usual, paths: { hrsam: [resolve('lib/index.ts')] } };
    const host = ts.createCompilerHost(settings);
    const { fileExists, getSourceFile } = host;
    host.fileExists = (name) => sources.has(name) || fileExists(name);
    host.getSourceFile = (name, language, ...more) =>
      sources.has(name)
        ? ts.createSourceFile(name, sources.get(name)!, language)
        : getSourceFile(name, language, ...more);
    const program = ts.createProgram([...sources.keys()], settings, host);
    const found = [...sources.keys()].flatMap((name) =>
      ts.getPreEmitDiagnostics(program, program.getSourceFile(name)),
    );
    expect(ts.formatDiagnostics(found, host)).toBe('');
  });
});
