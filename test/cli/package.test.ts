import { execFile } from 'node:child_process';
import { cpSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, expect, test } from 'vitest';
import { root, scratch } from '../support/files.js';
import { hrsam } from './support.js';

// From the package's own folder, so that its name resolves through its exports as it does for those who installed it.
const evaluate = async (source: string, type: 'module' | 'commonjs', env = process.env) =>
  (await promisify(execFile)(process.execPath, [`--input-type=${type}`, '-e', source], { cwd: root, env }))
    .stdout;

/** Loads a model and segments a grey square with whatever `load` names the package. */
const USE = `
  const model = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
  const data = new Uint8Array(64 * 64 * 3).fill(100);
  const image = await model.encode({ data, width: 64, height: 64, channels: 3 }, { size: 64 });
  const [mask] = await image.segment({ points: [[32, 32]] });
  const failed = await image.segment({ points: [[99, 0]] }).catch((error) => error);
  console.log(mask.width, failed instanceof HrsamError, failed.code, typeof ops.linear);
  image.dispose();
  model.dispose();`;

beforeAll(async () => {
  await hrsam(['--version']); // builds dist/ where that is due
}, 120_000);

test('import', async () => {
  const printed = await evaluate(`import { HRSAM, HrsamError, ops } from 'hrsam';${USE}`, 'module');
  expect(printed).toBe('64 true ERR_PROMPT function\n');
});

test('require', async () => {
  const source = `const { HRSAM, HrsamError, ops } = require('hrsam'); (async () => {${USE}})();`;
  expect(await evaluate(source, 'commonjs')).toBe('64 true ERR_PROMPT function\n');
});

test('both give the same names, and the types declare them', async () => {
  const print = 'console.log(Object.keys(all).filter((name) => name !== "default").sort().join())';
  const [esm, cjs] = await Promise.all([
    evaluate(`import * as all from 'hrsam'; ${print}`, 'module'),
    evaluate(`const all = require('hrsam'); ${print}`, 'commonjs'),
  ]);
  expect(cjs).toBe(esm);
  expect(esm).toContain('HRSAM,HrsamError');
  for (const file of ['dist/index.d.ts', 'dist/index.d.cts']) {
    const declared = readFileSync(join(root, file), 'utf8');
    for (const name of esm.trim().split(',')) expect(declared).toMatch(new RegExp(`\\b${name}\\b`));
  }
});

test('where there is no binary, how to build one, and where', async () => {
  const source = `import { Device } from 'hrsam'; try { Device.open() } catch (error) { console.log(error.code, error.message) }`;
  const printed = await evaluate(source, 'module', {
    ...process.env,
    HRSAM_PREBUILD: join(root, 'test/fixtures'),
  });
  // Not in the project that installed the package, which has no such script.
  expect(printed).toMatch(/^ERR_ADDON no binary for .*npm run build:native in /);
  expect(printed).toContain(`build:native in ${root.replace(/\/$/, '')} (`);
});

test('in a bundle, that hrsam must stay outside of it', async () => {
  const app = scratch('hrsam-bundled-')();
  writeFileSync(join(app, 'package.json'), '{"name": "app", "type": "module"}');
  cpSync(join(root, 'dist'), join(app, 'bundled'), { recursive: true });
  symlinkSync(join(root, 'node_modules'), join(app, 'node_modules'), 'dir');
  const source = `import { Device } from '${join(app, 'bundled/index.js')}'; try { Device.open() } catch (error) { console.log(error.code, error.message) }`;
  const printed = await evaluate(source, 'module');
  expect(printed).toMatch(/^ERR_ADDON .*: bundled .*--external:hrsam/);
  expect(printed).toContain(app);
});

test('nothing that Node 20 cannot parse is left', () => {
  for (const file of ['dist/index.js', 'dist/index.cjs'])
    expect(readFileSync(join(root, file), 'utf8')).not.toMatch(/^\s*(await )?using \w+ =/m);
});

test('what the package holds: its entry points, all built', async () => {
  const { exports, bin, main, types } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const files = [
    main,
    types,
    bin.hrsam,
    ...Object.values(exports['.']).flatMap((entry) => Object.values(entry as object)),
  ];
  for (const file of files)
    expect(readFileSync(join(root, file as string), 'utf8').length).toBeGreaterThan(0);
  expect(readFileSync(join(root, bin.hrsam), 'utf8')).toMatch(/^#!\/usr\/bin\/env node\n/);
});
