// Brings a clone to where its commands run: Node checked, packages installed, addon and dist/ built. Does only what is
// missing or out of date, says one line per step, and nothing when there was nothing to do. Needs no package itself.
//
//   node scripts/setup.mjs
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { hashFiles } from './setup/hash.mjs';
import { packagesAreCurrent } from './setup/packages.mjs';
import { installToolchain, missingTools, toolchainAdvice } from './setup/toolchain.mjs';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const ADDON = join(root, 'build/Release/hrsam.node');
const DIST = ['index.js', 'index.cjs', 'index.d.ts', 'cli.js'].map((file) => join(root, 'dist', file));
const STAMPS = join(root, 'build/setup.json');

function stop(message) {
  process.stderr.write(`\nsetup: ${message}\n`);
  process.exit(1);
}

/** Runs a step's command and says how long it took; what it printed is shown only when it fails. */
function step(name, command, args, env = {}) {
  process.stdout.write(`setup: ${name} … `);
  const start = performance.now();
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, ...env },
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) {
    const output = `${stdout ?? ''}${stderr ?? ''}`.trim().split('\n').slice(-60).join('\n');
    stop(`${name} failed: ${[command, ...args].join(' ')}\n${error ? error.message : output}`);
  }
  process.stdout.write(`${((performance.now() - start) / 1000).toFixed(1)} s\n`);
}

/** A package's program, run by this Node. */
const packageProgram = (path) => [process.execPath, join(root, 'node_modules', path)];

const readStamps = () => (existsSync(STAMPS) ? JSON.parse(readFileSync(STAMPS, 'utf8')) : {});

function writeStamp(name, hash) {
  mkdirSync(dirname(STAMPS), { recursive: true });
  writeFileSync(STAMPS, JSON.stringify({ ...readStamps(), [name]: hash }));
}

function checkNode() {
  const major = Number(process.versions.node.split('.')[0]);
  if (major < 20) stop(`Node 20 or newer is needed, this is ${process.version} (https://nodejs.org)`);
}

function installPackages() {
  if (packagesAreCurrent(root)) return;
  step('npm packages', 'npm', ['ci', '--no-audit', '--no-fund', '--include=dev', '--include=optional']);
}

function buildAddon() {
  const hash = hashFiles(
    root,
    ['native', 'CMakeLists.txt', 'package-lock.json'],
    (path) => !path.startsWith('native/test/'),
    [process.platform, process.arch, process.env.CXX ?? ''],
  );
  if (existsSync(ADDON) && readStamps().addon === hash) return;
  const missing = missingTools();
  if (missing.length > 0) {
    const install = installToolchain(missing);
    if (!install) stop(toolchainAdvice(missing));
    for (const [name, command, args] of install)
      step(name, command, args, { DEBIAN_FRONTEND: 'noninteractive' });
    const still = missingTools();
    if (still.length > 0) stop(toolchainAdvice(still));
  }
  forgetForeignBuild();
  const [node, script] = packageProgram('cmake-js/bin/cmake-js');
  step('native addon (a minute or two)', node, [
    script,
    'compile',
    '--parallel',
    String(availableParallelism()),
  ]);
  writeStamp('addon', hash);
}

/** CMake refuses to go on in a build folder that was configured elsewhere or with another generator. */
function forgetForeignBuild() {
  const build = join(root, 'build');
  const cache = join(build, 'CMakeCache.txt');
  if (!existsSync(cache)) return;
  const text = readFileSync(cache, 'utf8');
  const value = (name) => new RegExp(`^${name}:INTERNAL=(.*)$`, 'm').exec(text)?.[1];
  const generator = spawnSync('ninja', ['--version']).status === 0 ? 'Ninja' : 'Unix Makefiles';
  if (value('CMAKE_HOME_DIRECTORY') !== root || value('CMAKE_GENERATOR') !== generator)
    rmSync(build, { recursive: true });
}

function buildDist() {
  const sources = ['lib', 'tsdown.config.ts', 'tsconfig.json', 'package.json'];
  const hash = hashFiles(root, sources);
  if (DIST.every((file) => existsSync(file)) && readStamps().dist === hash) return;
  const [node, script] = packageProgram('tsdown/dist/run.mjs');
  step('dist/', node, [script, '--log-level', 'warn']);
  writeStamp('dist', hash);
}

checkNode();
installPackages();
buildAddon();
buildDist();
