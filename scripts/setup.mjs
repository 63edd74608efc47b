// Brings a clone to where its commands run: Node checked, packages installed, addon and dist/ built. Does only what is
// missing or out of date, says one line per step on stderr, nothing when there was nothing to do. Needs no package itself.
//
//   node scripts/setup.mjs [--tests]   with --tests also what only they load: CUDA's kernels, built for the CPU
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { cudaCompiler } from './setup/cuda.mjs';
import { hashFiles } from './setup/hash.mjs';
import { withLock } from './setup/lock.mjs';
import { packagesAreCurrent } from './setup/packages.mjs';
import { installToolchain, missingTools, toolchainAdvice } from './setup/toolchain.mjs';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const BUILD = join(root, 'build');
const ADDON = join(BUILD, 'Release/hrsam.node');
const KERNELS_ON_CPU = join(BUILD, 'on_cpu/hrsam_cuda_on_cpu.so');
const DIST = ['index.js', 'index.cjs', 'index.d.ts', 'cli.js', 'hrsam.cjs'].map((file) =>
  join(root, 'dist', file),
);
const JOBS = String(availableParallelism());
const COMPILER = process.env.CXX ?? '';
const CUDA = cudaCompiler();
const STAMPS = join(BUILD, 'setup.json');
const LOCK = join(root, 'build-lock');

function stop(message) {
  process.stderr.write(`\nsetup: ${message}\n`);
  process.exit(1);
}

/** Runs a step's command and says how long it took; what it printed is shown only when it fails. */
function step(name, command, args, env = {}) {
  process.stderr.write(`setup: ${name} … `);
  const start = performance.now();
  const { status, error, stdout, stderr } = spawnSync(command, args, {
    cwd: root,
    env: { ...process.env, NO_COLOR: '1', ...env },
    encoding: 'utf8',
    maxBuffer: 2 ** 28,
  });
  if (status !== 0) {
    const output = `${stdout ?? ''}${stderr ?? ''}`.trim().split('\n').slice(-80).join('\n');
    stop(`${name} failed: ${[command, ...args].join(' ')}\n${error ? error.message : output}`);
  }
  process.stderr.write(`${((performance.now() - start) / 1000).toFixed(1)} s\n`);
}

/** Runs a package's program with this Node. */
const packageStep = (name, program, args) =>
  step(name, process.execPath, [join(root, 'node_modules', program), ...args]);

const readStamps = () => (existsSync(STAMPS) ? JSON.parse(readFileSync(STAMPS, 'utf8')) : {});

function writeStamp(name, hash) {
  mkdirSync(BUILD, { recursive: true });
  writeFileSync(STAMPS, JSON.stringify({ ...readStamps(), [name]: hash }));
}

function checkNode() {
  const [major, minor] = process.versions.node.split('.').map(Number);
  // What is built and tested with asks for more than the package (package.json, engines).
  const fits = (major === 20 && minor >= 19) || (major === 22 && minor >= 12) || major >= 24;
  if (!fits)
    stop(`Node 20.19, 22.12, 24 or newer is needed, this is ${process.version} (https://nodejs.org)`);
}

function installTools() {
  const missing = missingTools();
  if (missing.length === 0) return;
  const steps = installToolchain(missing);
  if (!steps) stop(toolchainAdvice(missing));
  for (const [name, command, args] of steps) step(name, command, args, { DEBIAN_FRONTEND: 'noninteractive' });
  const still = missingTools();
  if (still.length > 0) stop(toolchainAdvice(still));
}

/** Whether CUDA came, or another one, since the build folder was made; one that is out of sight stays in use. */
const isNewCuda = () => CUDA !== '' && CUDA !== readStamps().cuda;

/** CMake refuses to go on in a build folder of another place or generator, and keeps to the compilers it began with. */
function forgetForeignBuild() {
  const cache = join(BUILD, 'CMakeCache.txt');
  if (!existsSync(cache)) return;
  const text = readFileSync(cache, 'utf8');
  const value = (name) => new RegExp(`^${name}:INTERNAL=(.*)$`, 'm').exec(text)?.[1];
  const generator = spawnSync('ninja', ['--version']).status === 0 ? 'Ninja' : 'Unix Makefiles';
  const { compiler = '' } = readStamps();
  const fits =
    value('CMAKE_HOME_DIRECTORY') === root &&
    value('CMAKE_GENERATOR') === generator &&
    compiler === COMPILER &&
    !isNewCuda();
  if (!fits) rmSync(BUILD, { recursive: true });
}

const nativeHash = (isSource) =>
  hashFiles(root, ['native', 'CMakeLists.txt', 'package-lock.json'], isSource, [
    process.platform,
    process.arch,
    COMPILER,
  ]);
const addonHash = () => nativeHash((path) => !path.startsWith('native/test/'));
const kernelsHash = () => nativeHash((path) => !/^native\/(test\/[^/]*$|cpu|image|binding)/.test(path));

const distHash = () => hashFiles(root, ['lib', 'tsdown.config.ts', 'tsconfig.json', 'package.json']);

const packages = {
  isDone: () => packagesAreCurrent(root),
  run: () =>
    step('npm packages', 'npm', ['ci', '--no-audit', '--no-fund', '--include=dev', '--include=optional']),
};

const addon = {
  isDone: () => existsSync(ADDON) && readStamps().addon === addonHash() && !isNewCuda(),
  run() {
    const hash = addonHash();
    installTools();
    forgetForeignBuild();
    writeStamp('compiler', COMPILER);
    if (CUDA !== '') writeStamp('cuda', CUDA);
    packageStep('native addon (minutes)', 'cmake-js/bin/cmake-js', ['build', '--parallel', JOBS]);
    writeStamp('addon', hash);
  },
};

const kernelsOnCpu = {
  isDone: () => existsSync(KERNELS_ON_CPU) && readStamps().kernels === kernelsHash(),
  run() {
    const hash = kernelsHash();
    const args = ['--build', BUILD, '--target', 'hrsam_cuda_on_cpu', '--parallel', JOBS];
    step("CUDA's kernels, for the CPU (a minute)", 'cmake', args);
    writeStamp('kernels', hash);
  },
};

const dist = {
  isDone: () => DIST.every((file) => existsSync(file)) && readStamps().dist === distHash(),
  run() {
    const hash = distHash();
    packageStep('dist/', 'tsdown/dist/run.mjs', ['--log-level', 'warn']);
    writeStamp('dist', hash);
  },
};

/** Does what is not done; of several processes one works and the others wait for it. */
function bring(...parts) {
  // What was built elsewhere and carried here is used as it is.
  if (process.env.HRSAM_PREBUILD && DIST.every((file) => existsSync(file))) return;
  if (parts.every((part) => part.isDone())) return;
  withLock(LOCK, () => {
    for (const part of parts) if (!part.isDone()) part.run();
  });
}

/** Everything: packages, addon, dist/; `extra` parts, too. */
export function setup(...extra) {
  checkNode();
  bring(packages, addon, ...extra, dist);
}

/** Only dist/, for tests that run what users get. */
export const setupDist = () => bring(dist);

if (process.argv[1] === fileURLToPath(import.meta.url))
  setup(...(process.argv.includes('--tests') ? [kernelsOnCpu] : []));
