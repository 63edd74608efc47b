import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeEach, describe, expect, it } from 'vitest';
import { root, scratch } from '../support/files.js';

const debian = existsSync('/etc/debian_version');

let folder: string;
beforeEach(() => {
  folder = scratch('hrsam-setup-')();
});

/** Runs a module of scripts/setup/ in a process of its own and returns what it prints as JSON. */
function ask(module: string, expression: string, path = process.env.PATH) {
  const source = `import * as it from './scripts/setup/${module}'; console.log(JSON.stringify(${expression}));`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', source], {
    cwd: root,
    env: { PATH: path, CXX: process.env.CXX },
    encoding: 'utf8',
  });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

const script = (name: string, body: string) => {
  writeFileSync(join(folder, name), `#!/bin/sh\n${body}\n`);
  chmodSync(join(folder, name), 0o755);
};

describe('missing tools', () => {
  it('are none where the addon was built', () => {
    expect(ask('toolchain.mjs', 'it.missingTools()')).toEqual([]);
  });

  it('are named with the command that installs them', () => {
    expect(ask('toolchain.mjs', 'it.missingTools()', folder)).toEqual(['compiler', 'cmake', 'make']);
    const advice = ask('toolchain.mjs', "it.toolchainAdvice(['compiler', 'make'])", folder);
    expect(advice).toContain('a C++20 compiler (g++ 11 or newer), make or ninja');
    if (debian) expect(advice).toContain('sudo apt-get update && sudo apt-get install -y g++ make');
  });

  it('include what is too old', () => {
    script('cmake', 'echo cmake version 3.19.8');
    script('g++', 'exit 1');
    script('make', 'exit 0');
    expect(ask('toolchain.mjs', 'it.missingTools()', folder)).toEqual(['compiler', 'cmake']);
    script('cmake', 'echo cmake version 3.20.0');
    script('g++', 'exit 0');
    expect(ask('toolchain.mjs', 'it.missingTools()', folder)).toEqual([]);
  });

  it.runIf(debian)('are installed with apt-get by root only', () => {
    const steps = ask('toolchain.mjs', "it.installToolchain(['compiler', 'cmake']) ?? null");
    if (process.getuid?.() !== 0) expect(steps).toBeNull();
    else
      expect(steps.map((step: [string, string, string[]]) => [step[1], ...step[2]].join(' '))).toEqual([
        'apt-get update -q',
        'apt-get install -y -q --no-install-recommends g++ cmake',
      ]);
  });
});

describe('the CUDA compiler', () => {
  const found = (env: object) =>
    ask('cuda.mjs', `it.cudaCompiler(${JSON.stringify(env)}, ['${folder}/version'], '${folder}/none')`);

  it('counts where there is a driver, on the PATH or where the environment says', () => {
    mkdirSync(join(folder, 'bin'));
    script('bin/nvcc', '');
    const places = [{ CUDA_HOME: folder }, { CUDA_PATH: folder }, { PATH: `/none:${folder}/bin` }];
    for (const env of places) expect(found(env)).toBe('');
    writeFileSync(join(folder, 'version'), '');
    for (const env of places) expect(found(env)).toMatch(/\/bin\/nvcc \d/);
    expect(found({})).toBe('');
  });

  it('is another one after an upgrade under the same name', () => {
    writeFileSync(join(folder, 'version'), '');
    for (const name of ['12', '13']) mkdirSync(join(folder, name, 'bin'), { recursive: true });
    for (const name of ['12', '13']) script(`${name}/bin/nvcc`, '');
    const home = join(folder, 'cuda');
    const seen = ['12', '13'].map((name) => {
      rmSync(home, { force: true });
      symlinkSync(join(folder, name), home);
      return found({ CUDA_HOME: home });
    });
    utimesSync(join(folder, '13/bin/nvcc'), 1, 1);
    expect(new Set([...seen, found({ CUDA_HOME: home })]).size).toBe(3);
  });
});

describe('packages', () => {
  const lock = (path: string, packages: object) => {
    mkdirSync(join(folder, 'node_modules'), { recursive: true });
    writeFileSync(join(folder, path), JSON.stringify({ packages }));
  };
  const current = () => ask('packages.mjs', `it.packagesAreCurrent(${JSON.stringify(folder)})`);

  it('are current when what the lock file asks for is installed', () => {
    expect(current()).toBe(false);
    lock('package-lock.json', {
      '': { version: '0.1.0' },
      'node_modules/a': { version: '1.0.0' },
      'node_modules/b-win32': { version: '2.0.0', optional: true },
    });
    expect(current()).toBe(false);
    lock('node_modules/.package-lock.json', { 'node_modules/a': { version: '1.0.0' } });
    expect(current()).toBe(true);
    lock('node_modules/.package-lock.json', { 'node_modules/a': { version: '1.0.1' } });
    expect(current()).toBe(false);
    writeFileSync(join(folder, 'node_modules/.package-lock.json'), '{"packages":{');
    expect(current()).toBe(false);
  });
});

describe('the hash of sources', () => {
  it('follows names and contents', () => {
    const hash = () =>
      ask('hash.mjs', `it.hashFiles(${JSON.stringify(folder)}, ['src', 'none'], (p) => !p.endsWith('.md'))`);
    mkdirSync(join(folder, 'src'));
    writeFileSync(join(folder, 'src/a'), 'one');
    const first = hash();
    writeFileSync(join(folder, 'src/notes.md'), 'not counted');
    expect(hash()).toBe(first);
    writeFileSync(join(folder, 'src/a'), 'two');
    const second = hash();
    expect(second).not.toBe(first);
    symlinkSync(join(folder, 'src/a'), join(folder, 'src/b'));
    expect(hash()).not.toBe(second);
  });
});

describe('the lock', () => {
  it('lets one process work at a time and does not survive its owner', () => {
    const lock = join(folder, 'lock');
    mkdirSync(lock);
    // No such process: numbers end well below.
    writeFileSync(join(lock, 'pid'), String(2 ** 30));
    expect(ask('lock.mjs', `(it.withLock(${JSON.stringify(lock)}, () => {}), 'done')`)).toBe('done');
    expect(existsSync(lock)).toBe(false);
  });
});
