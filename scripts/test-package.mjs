// Packs the package as it would be published, installs it in an empty folder and uses it from there: ES modules, CommonJS,
// types, a worker thread, the command; with the prebuilt binary, as there is no other.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { root } from './setup.mjs';

const MAX_BYTES = 30e6;
/** What a package needs, and what has no business in it. */
const REQUIRED = [
  'package.json',
  'LICENSE',
  'CMakeLists.txt',
  'dist/index.js',
  'dist/index.cjs',
  'dist/index.d.ts',
  'weights/hrsam-s.safetensors',
  'web/index.html',
];
const FOREIGN = /^(test|lib|scripts|bench|native\/test|build|out|\.ci)\//;

const folder = mkdtempSync(join(tmpdir(), 'hrsam-package-'));
let failed = 0;

function run(command, args, cwd = folder) {
  const { status, stdout, stderr, error } = spawnSync(command, args, { cwd, encoding: 'utf8' });
  if (status === 0) return stdout;
  throw new Error(
    `${[command, ...args].join(' ')}: ${error?.message ?? `exit code ${status}`}\n${stdout}${stderr}`,
  );
}

function check(what, test) {
  try {
    test();
    console.log(`ok   ${what}`);
  } catch (error) {
    failed++;
    console.log(`FAIL ${what}\n${error.message}`);
  }
}

const USE = `
  const model = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
  const image = await model.encode({ data: new Uint8Array(64 * 48 * 3), width: 64, height: 48, channels: 3 });
  const [mask] = await image.segment({ points: [[10, 10]] });
  if (mask.width !== 64) throw new Error('no mask');
`;

const TYPED = `
import { HRSAM, type Mask, HrsamError } from 'hrsam';
export async function first(path: string): Promise<Mask | undefined> {
  const model = await HRSAM.load(path, { device: 'cpu', dtype: 'bf16' });
  const image = await model.encode(path, { size: 1024 });
  // @ts-expect-error a point has two coordinates
  await image.segment({ points: [[1]] }).catch((error) => error instanceof HrsamError);
  return (await image.segment({ points: [[1, 2]], labels: [1] }))[0];
}
`;

const TSC = [
  '--noEmit',
  '--strict',
  '--noUncheckedIndexedAccess',
  '--exactOptionalPropertyTypes',
  '--skipLibCheck',
  'false',
  '--module',
  'nodenext',
  '--target',
  'es2022',
  '--lib',
  'es2023,esnext.disposable',
  '--types',
  'node',
  '--typeRoots',
  join(root, 'node_modules/@types'),
];

try {
  run(process.execPath, [join(root, 'scripts/prebuild.mjs')], root);
  const [{ filename, files, size }] = JSON.parse(
    run('npm', ['pack', '--json', '--pack-destination', folder], root),
  );
  const names = files.map(({ path }) => path);
  check(
    `${files.length} files, ${(size / 1e6).toFixed(1)} MB packed: all that is needed, nothing else`,
    () => {
      const missing = REQUIRED.filter((name) => !names.includes(name));
      const foreign = names.filter((name) => FOREIGN.test(name));
      if (!names.some((name) => /^prebuilds\/.+\.node$/.test(name))) missing.push('prebuilds/*/*.node');
      if (missing.length || foreign.length) throw new Error(`missing: ${missing}; foreign: ${foreign}`);
      if (size > MAX_BYTES) throw new Error(`larger than ${MAX_BYTES / 1e6} MB`);
    },
  );

  writeFileSync(join(folder, 'package.json'), '{ "name": "clean", "private": true }');
  // No install scripts: newer package managers run none.
  run('npm', ['install', '--ignore-scripts', '--no-audit', '--no-fund', `./${filename}`]);
  writeFileSync(join(folder, 'use.mjs'), `import { HRSAM } from 'hrsam';${USE}`);
  writeFileSync(join(folder, 'use.cjs'), `const { HRSAM } = require('hrsam');(async () => {${USE}})();`);
  writeFileSync(
    join(folder, 'thread.mjs'),
    `import { Worker } from 'node:worker_threads';
     new Worker('./use.mjs').on('exit', (code) => { process.exitCode = code; });`,
  );
  writeFileSync(join(folder, 'typed.mts'), TYPED);
  writeFileSync(join(folder, 'typed.cts'), TYPED);
  check('import', () => run(process.execPath, ['use.mjs']));
  check('require', () => run(process.execPath, ['use.cjs']));
  check('worker thread', () => run(process.execPath, ['thread.mjs']));
  check('types', () =>
    run(process.execPath, [join(root, 'node_modules/typescript/bin/tsc'), ...TSC, 'typed.mts', 'typed.cts']),
  );
  check('command', () => {
    const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
    const found = run(join(folder, 'node_modules/.bin/hrsam'), ['--version']).trim();
    if (found !== version) throw new Error(`--version: ${found}, expected ${version}`);
  });
} finally {
  rmSync(folder, { recursive: true, force: true });
}
process.exitCode = failed ? 1 : 0;
