// Runs the ops' and models' tests once per instruction set that this processor has.
//
//   npm run test:isa [-- <vitest arguments>]
import { spawnSync } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const require = createRequire(import.meta.url);
const vitest = join(dirname(require.resolve('vitest/package.json')), 'vitest.mjs');
const [{ detail }] = require('node-gyp-build')(root).devices('cpu');
const isas = /available: (.*)$/.exec(detail)[1].split(' ');
const given = process.argv.slice(2);

const failed = isas.filter((isa) => {
  console.log(`\nHRSAM_CPU_ISA=${isa}`);
  const args = [vitest, 'run', ...(given.length > 0 ? given : ['test/ops', 'test/model'])];
  const env = { ...process.env, HRSAM_CPU_ISA: isa };
  return spawnSync(process.execPath, args, { cwd: root, env, stdio: 'inherit' }).status !== 0;
});
if (failed.length > 0) {
  console.error(`failed with ${failed.join(', ')}`);
  process.exitCode = 1;
}
