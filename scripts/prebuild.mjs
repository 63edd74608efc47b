// Puts the binaries of this platform into prebuilds/, from where an installed package loads them without a compiler.
import { spawnSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

setup();
// Of its own: prebuildify strips and moves what it finds, and the clone's build must stay.
const work = join(root, 'build-prebuild');
mkdirSync(work, { recursive: true });
const options = ['--napi', '--strip', '--tag-libc', '--name', 'hrsam', '--cwd', work, '--out', root];
const program = [join(root, 'node_modules/prebuildify/bin.js'), ...options];
const { status } = spawnSync(
  process.execPath,
  [...program, '--node-gyp', join(root, 'scripts/setup/stage-binaries.mjs')],
  { cwd: root, stdio: 'inherit' },
);
process.exitCode = status ?? 1;
