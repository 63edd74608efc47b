// Runs tests on CUDA's kernels: those that a GPU would run, built for the CPU (native/test/cuda). With --gpu on the GPU
// itself. Unless told, those of the ops, their gradients and the optimisers, and of the encoder's parts: whole models take minutes.
//
//   npm run test:cuda [-- [--gpu] <vitest arguments>]
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs');
const given = process.argv.slice(2).filter((argument) => argument !== '--gpu');
const env = { ...process.env, HRSAM_TEST_DEVICE: 'cuda' };
if (!process.argv.includes('--gpu')) {
  env.HRSAM_CUDA_LIBRARY ??= join(root, 'build/on_cpu/hrsam_cuda_on_cpu.so');
  if (!existsSync(env.HRSAM_CUDA_LIBRARY)) {
    console.error(`${env.HRSAM_CUDA_LIBRARY} is not there: npm run setup -- --tests builds it`);
    process.exit(1);
  }
}
const args = [
  vitest,
  'run',
  ...(given.length > 0
    ? given
    : [
        'test/ops',
        'test/model/encoder_parts.test.ts',
        'test/gradient/ops.test.ts',
        'test/train/adamw.test.ts',
        'test/train/muon.test.ts',
      ]),
];
process.exitCode = spawnSync(process.execPath, args, { cwd: root, env, stdio: 'inherit' }).status ?? 1;
