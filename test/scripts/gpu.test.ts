import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { root, scratch } from '../support/files.js';

/**
 * How parts of scripts/gpu.sh call a command on a made-up GPU, in order: what `told`, in shell, makes of each call. The command
 * does nothing but take `seconds`.
 */
async function calls(
  parts: string[],
  {
    capability,
    command,
    told,
    seconds = 0,
  }: { capability: string; command: string; told: string; seconds?: number },
): Promise<string[]> {
  const folder = scratch('hrsam-gpu-')();
  const [bin, files] = [join(folder, 'bin'), join(folder, 'calls')];
  const put = (name: string, body: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  for (const each of [bin, files]) mkdirSync(each);
  put('nvidia-smi', `echo ${capability}`);
  put(command, `echo "${told}" >"$(mktemp "${files}/$(date +%s%N).XXXXXX")"; sleep ${seconds}`);
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, HRSAM_NODE: process.execPath, OUT: '' };
  await promisify(execFile)('bash', [join(root, 'scripts/gpu.sh'), join(folder, 'out'), ...parts], { env });
  return readdirSync(files)
    .sort()
    .map((name) => readFileSync(join(files, name), 'utf8').trim());
}

const sanitized = (capability: string) =>
  calls(['memcheck', 'racecheck', 'initcheck', 'synccheck'], {
    capability,
    command: 'compute-sanitizer',
    told: 'wgmma=$HRSAM_CUDA_WGMMA $*',
  });

const count = (made: string[], pattern: RegExp): number => made.filter((call) => pattern.test(call)).length;

// Its tools are GNU's.
describe.runIf(process.platform === 'linux')('scripts/gpu.sh runs the sanitizers', () => {
  it('on Hopper by the instructions of every GPU and by its own, apart', async () => {
    const made = await sanitized('9.0');
    for (const tool of ['memcheck', 'racecheck', 'initcheck', 'synccheck']) {
      const named = made.filter((call) => call.includes(`--tool ${tool} `));
      expect(count(named, /^wgmma=0 .*_test --threads 1$/m)).toBeGreaterThan(20);
      expect(count(named, /^wgmma=1 .*_test --threads 1$/m)).toBe(4);
      expect(count(named, /^wgmma=1 .*\/gemm_test --threads 1$/m)).toBe(1);
    }
  });

  it('elsewhere once, each racecheck on one of the processors', async () => {
    const made = await sanitized('8.0');
    expect(count(made, /^wgmma=1/m)).toBe(0);
    const races = made.filter((call) => call.includes('--tool racecheck '));
    expect(races.length).toBeGreaterThan(20);
    expect(count(races, / --racecheck-num-workers 1 /)).toBe(races.length);
  });
});

it.runIf(process.platform === 'linux')('scripts/gpu.sh gives all of a part the time of one', async () => {
  const limits = (
    await calls(['bench-hopper'], { capability: '9.0', command: 'timeout', told: '$3', seconds: 1.1 })
  ).map(Number);
  expect(limits).toHaveLength(3);
  expect(limits[0]).toBeLessThanOrEqual(540);
  for (const i of [1, 2]) expect(limits[i]).toBeLessThan(limits[i - 1]!);
});
