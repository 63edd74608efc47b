// Builds dist/ when it is missing or older than the sources. Cheap when there is nothing to do.
import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

export const root = dirname(dirname(fileURLToPath(import.meta.url)));
const LOCK = join(root, 'node_modules', '.hrsam-build-lock');
const LOCK_EXPIRES_MS = 120_000;

const modified = (path) => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

function isStale() {
  const built = Math.min(...['index.js', 'index.cjs', 'cli.js'].map((file) => modified(join(root, 'dist', file))));
  const sources = readdirSync(join(root, 'lib'), { recursive: true }).map((file) => join('lib', file));
  return [...sources, 'tsdown.config.ts', 'package.json'].some((file) => modified(join(root, file)) > built);
}

const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** One process builds, the others wait for it. */
function withLock(work) {
  for (;;) {
    try {
      mkdirSync(LOCK);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      // Left behind by a process that was killed.
      if (existsSync(LOCK) && Date.now() - modified(LOCK) > LOCK_EXPIRES_MS) rmSync(LOCK, { recursive: true, force: true });
      sleep(100);
    }
  }
  try {
    work();
  } finally {
    rmSync(LOCK, { recursive: true, force: true });
  }
}

export function buildIfStale() {
  if (!isStale()) return;
  withLock(() => {
    if (!isStale()) return;
    process.stderr.write('building dist …\n');
    execFileSync(process.execPath, [join(root, 'node_modules/tsdown/dist/run.mjs'), '--log-level', 'warn'], {
      cwd: root,
      stdio: ['ignore', 2, 2],
    });
  });
}
