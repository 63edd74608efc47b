// Puts the binaries of this platform into prebuilds/, from where an installed package loads them without a compiler.
// --cuda: with the CUDA backend for every GPU that packages are built for (minutes).
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { root, setup } from './setup.mjs';

setup();
if (process.argv.includes('--cuda')) {
  const cmake = (...args) => spawnSync('cmake', args, { cwd: root, stdio: 'inherit' }).status === 0;
  const configured = cmake('-S', '.', '-B', 'build', '-DHRSAM_CUDA=ON', '-DHRSAM_CUDA_ARCHS=all');
  if (!configured || !cmake('--build', 'build', '--parallel')) process.exit(1);
}
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
if (status === 0) {
  const prebuilds = join(root, 'prebuilds');
  for (const name of readdirSync(prebuilds, { recursive: true })) {
    const file = statSync(join(prebuilds, name));
    if (file.isFile()) console.log(`prebuilds/${name} (${(file.size / 1e6).toFixed(1)} MB)`);
  }
}
