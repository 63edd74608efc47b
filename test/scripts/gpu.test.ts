import { execFile } from 'node:child_process';
import { chmodSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, it } from 'vitest';
import { root, scratch } from '../support/files.js';

/** Runs the sanitizers' parts of scripts/gpu.sh; what a GPU and compute-sanitizer would answer is made up. */
async function sanitized(capability: string): Promise<string[]> {
  const folder = scratch('hrsam-gpu-')();
  const bin = join(folder, 'bin');
  const calls = join(folder, 'calls');
  mkdirSync(bin);
  mkdirSync(calls);
  const command = (name: string, body: string) => {
    writeFileSync(join(bin, name), `#!/bin/sh\n${body}\n`);
    chmodSync(join(bin, name), 0o755);
  };
  command('nvidia-smi', `echo ${capability}`);
  // A file for each call: several are made at a time.
  command('compute-sanitizer', `echo "wgmma=$HRSAM_CUDA_WGMMA $*" >"$(mktemp "${calls}/XXXXXX")"`);
  const parts = ['memcheck', 'racecheck', 'initcheck', 'synccheck'];
  const env = { ...process.env, PATH: `${bin}:${process.env.PATH}`, HRSAM_NODE: process.execPath, OUT: '' };
  await promisify(execFile)('bash', [join(root, 'scripts/gpu.sh'), join(folder, 'out'), ...parts], { env });
  return readdirSync(calls).map((name) => readFileSync(join(calls, name), 'utf8'));
}

const count = (calls: string[], pattern: RegExp): number => calls.filter((call) => pattern.test(call)).length;

// Its tools are GNU's.
describe.runIf(process.platform === 'linux')('scripts/gpu.sh runs the sanitizers', () => {
  it('on Hopper by the instructions of every GPU and by its own, apart', async () => {
    const calls = await sanitized('9.0');
    for (const tool of ['memcheck', 'racecheck', 'initcheck', 'synccheck']) {
      const named = calls.filter((call) => call.includes(`--tool ${tool} `));
      expect(count(named, /^wgmma=0 .*_test --threads 1$/m)).toBeGreaterThan(20);
      expect(count(named, /^wgmma=1 .*_test --threads 1$/m)).toBe(4);
      expect(count(named, /^wgmma=1 .*\/gemm_test --threads 1$/m)).toBe(1);
    }
  });

  it('elsewhere once, each racecheck on one of the processors', async () => {
    const calls = await sanitized('8.0');
    expect(count(calls, /^wgmma=1/m)).toBe(0);
    const races = calls.filter((call) => call.includes('--tool racecheck '));
    expect(races.length).toBeGreaterThan(20);
    expect(count(races, / --racecheck-num-workers 1 /)).toBe(races.length);
  });
});
