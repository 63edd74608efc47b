import { spawn, spawnSync } from 'node:child_process';
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { root, scratch } from '../support/files.js';
import { hasKernelsOnCpu, kernelsOnCpu } from '../support/kernels_on_cpu.js';
import { hrsam, hrsamJson, writeTiny } from './support.js';

const COMMANDS = ['segment', 'embed', 'decode', 'info', 'convert', 'doctor', 'bench'];
const OTHERS = ['everything', 'serve', 'eval', 'train', 'train distill', 'train finetune', 'train schema'];

describe('help', () => {
  test.each(COMMANDS)('of %s ends with an example', async (command) => {
    const { code, stdout, stderr } = await hrsam([command, '--help']);
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(new RegExp(`^Usage: hrsam ${command} `));
    expect(stdout).toMatch(new RegExp(`Examples?:\n {2}\\$ hrsam ${command}`));
  });

  test.each([...COMMANDS, ...OTHERS, ''])('of %s has no line longer than 120', async (command) => {
    const { stdout } = await hrsam([...command.split(' ').filter(Boolean), '--help']);
    expect(stdout.split('\n').filter((line) => line.length > 120)).toEqual([]);
  });

  test('tells the exit codes', async () => {
    expect((await hrsam(['--help'])).stdout).toMatch(/^Exit codes: 0 [^;]*; 1 [^;]*; 2 [^;]*; 128 \+ n /m);
  });

  test('names all commands; an unknown one is a usage error', async () => {
    const { stdout } = await hrsam(['--help']);
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^ {2}${command} `, 'm'));
    const { code, stderr } = await hrsam(['segmnt']);
    expect(code).toBe(2);
    expect(stderr).toMatch(/^hrsam: unknown command 'segmnt' \(Did you mean segment\?\)\n$/);
  });
});

describe('doctor', () => {
  test('finds a CPU that works, and why there is no CUDA where there is none', async () => {
    const found = await hrsamJson(['doctor']);
    expect(found.node).toBe(process.version);
    expect(found.addon.path).toMatch(/\.node$/);
    expect(found.cpu.detail).toMatch(/^using (\w+); available:.* \1\b/);
    expect(found.selfTest).toMatchObject({ ok: true });
    expect(found.cuda.ok ? found.cuda.devices.length : found.cuda.reason.length).toBeGreaterThan(0);
  });

  test('with HRSAM_CPU_ISA: the forced instruction set; an unknown one fails the self-test, as does an unknown profile', async () => {
    const scalar = await hrsam(['doctor'], { env: { HRSAM_CPU_ISA: 'scalar' } });
    expect(scalar.code).toBe(0);
    expect(scalar.stdout).toContain('using scalar; available:');
    expect(scalar.stdout).toContain('HRSAM_CPU_ISA=scalar is set');
    const unknown = await hrsam(['doctor'], { env: { HRSAM_CPU_ISA: 'mmx' } });
    expect(unknown.code).toBe(1);
    expect(unknown.stdout).toMatch(
      /self-test {2}failed: .*HRSAM_CPU_ISA=mmx: unknown instruction set; expected one of.* scalar/,
    );
    if (hasKernelsOnCpu) {
      const env = { HRSAM_CUDA_LIBRARY: kernelsOnCpu, HRSAM_CUDA_MEMORY_MIB: 'x' };
      const { code, stdout } = await hrsam(['doctor'], { env });
      expect(code).toBe(1);
      expect(stdout).toMatch(/HRSAM_CUDA_MEMORY_MIB: expected a whole number of MiB, got 'x'$/m);
    }
    const profile = await hrsam(['doctor'], { env: { HRSAM_PROFILE: 'op' } });
    expect(profile.stdout).toMatch(/self-test {2}failed: .*HRSAM_PROFILE=op: expected ops or nodes/);
  });
});

describe('bench', () => {
  test('rows of an encoder: time, rate, share of the peak, memory', async () => {
    const args = ['bench', '--only', 'encoder', '-w', 'random:hrsam-tiny', '-d', 'cpu', '--size', '128'];
    const { rows } = await hrsamJson([...args, '--dtype', 'f32', '--batch', '2']);
    const [encoder, loop, click] = rows;
    expect(rows.map(({ what }: { what: string }) => what)).toEqual([
      'hrsam-tiny encoder',
      'hrsam-tiny event loop, p99',
      'hrsam-tiny click to mask',
    ]);
    expect(encoder).toMatchObject({ device: 'cpu', dtype: 'f32', size: '128 x 128', batch: 2 });
    expect(encoder.runs).toBeGreaterThanOrEqual(3);
    expect(encoder.spread).toBeGreaterThanOrEqual(0);
    expect(encoder.share).toBeGreaterThan(0);
    expect(encoder.share).toBeLessThan(1.2);
    expect(encoder.gflops).toBeGreaterThan(0);
    expect(encoder.memory).toBeGreaterThan(30e6);
    expect(loop.median).toBeGreaterThan(0);
    expect(click.median).toBeGreaterThan(0);
  });

  test.each([
    ['weights', ['-w', 'random:hrsam-tiny']],
    ['size', ['--size', '512']],
    ['batch', ['--batch', '2']],
  ])('refuses %s of encoders, of which it would measure none', async (name, given) => {
    const { code, stderr } = await hrsam(['bench', '--only', 'call', ...given, '-d', 'cpu']);
    expect([code, stderr]).toEqual([1, `hrsam: ${name}; expected --only encoder; got [call]\n`]);
  });

  test('pictures and clicks without and with coarse to fine, above the size that the model is made for', async () => {
    const weights = scratch('hrsam-bench-test-')('tiny.safetensors');
    await writeTiny(weights, { decoder: { coarseToFine: true } });
    const args = ['bench', '--only', 'encoder', '-w', weights, '-d', 'cpu', '--dtype', 'f32', '--size'];
    const names = async (size: string) => {
      const { rows } = await hrsamJson([...args, size]);
      return rows
        .slice(2)
        .map(({ what, note }: { what: string; note?: string }) => [
          what.replace('tiny.safetensors ', ''),
          note?.replace(/[\d.]+/, 'n'),
        ]);
    };
    expect(await names('256')).toEqual([['click to mask', undefined]]);
    expect(await names('512')).toEqual([
      ['picture', undefined],
      ['picture, coarse to fine', 'n x without'],
      ['click to mask', undefined],
      ['click to mask, coarse to fine', 'n x without'],
    ]);
  });

  test('what a call costs, in a document that says where, when and of what', async () => {
    const args = ['bench', '--only', 'call', '-d', 'cpu', '--threads', '1', '--json'];
    const { code, stdout } = await hrsam(args, {
      env: { HRSAM_BENCH_RUN: 'this one', HRSAM_BENCH_NOTE: 'in a test', HRSAM_COMMIT: 'abc' },
    });
    expect(code).toBe(0);
    const { device, processor, date, rows, ...rest } = JSON.parse(stdout);
    expect(rest).toMatchObject({ schema: 1, threads: 1, node: process.version });
    expect(rest).toMatchObject({ run: 'this one', note: 'in a test', commit: 'abc' });
    expect(rest.by).toMatch(/^hrsam \d/);
    expect(device.detail).toMatch(/^using \w+; available:/);
    expect(processor).toBe(`${device.name}, ${device.detail}`);
    expect(Math.abs(Date.now() - Date.parse(date))).toBeLessThan(600_000);
    expect(rows).toHaveLength(1);
    const [{ what, median, p90, p99, runs }] = rows;
    expect(what).toBe('call from JavaScript');
    expect(runs).toBeGreaterThanOrEqual(100);
    expect(median).toBeGreaterThan(0);
    expect(p90).toBeGreaterThanOrEqual(median);
    expect(p99).toBeGreaterThanOrEqual(p90);
  });

  test('the commit is that of the clone', async () => {
    const { stdout } = await hrsam(['bench', '--only', 'call', '-d', 'cpu', '--json']);
    const git = spawnSync('git', ['rev-parse', 'HEAD'], { cwd: root, encoding: 'utf8' });
    const { commit } = JSON.parse(stdout);
    if (git.status === 0) expect(commit?.replace('+', '')).toBe(git.stdout.trim());
    else expect(commit).toBeUndefined();
  });

  test('a part that fails ends the command, but not the others', async () => {
    const encoder = ['--only', 'call,encoder', '-w', 'random:sam-tiny', '--size', '128', '--dtype', 'f32'];
    const { code, stdout, stderr } = await hrsam(['bench', ...encoder, '-d', 'cpu', '--json']);
    expect(code).toBe(1);
    expect(stderr).toMatch(/expected 224 × 224; got 128 × 128\n/);
    expect(stderr).toContain('the process that measured encoder ended with 1');
    expect(JSON.parse(stdout).rows).toHaveLength(1);
  });

  test('-o: the parts of one run in one document, each once, and another run anew', async () => {
    const file = scratch('hrsam-bench-test-')('bench.json');
    const measured = async (run: string) => {
      const args = ['bench', '--only', 'call', '-d', 'cpu', '-o', file];
      const { code } = await hrsam(args, { env: { HRSAM_BENCH_RUN: run } });
      const document = JSON.parse(readFileSync(file, 'utf8'));
      expect([code, document.schema, document.run]).toEqual([0, 1, run]);
      return document.rows.map(({ what }: { what: string }) => what);
    };
    const row = { device: 'cpu', dtype: 'f32', size: '', batch: 1, median: 1, spread: 0, runs: 1 };
    writeFileSync(file, JSON.stringify({ run: 'a', rows: [{ what: 'of another part', ...row }] }));
    for (let i = 0; i < 2; i++)
      expect(await measured('a')).toEqual(['of another part', 'call from JavaScript']);
    expect(await measured('b')).toEqual(['call from JavaScript']);
  });

  test('-o: a run goes on behind the encoders that it has measured', async () => {
    const file = scratch('hrsam-bench-test-')('bench.json');
    const row = { device: 'cpu', dtype: 'f32', size: '128 x 128', batch: 1, median: -1, spread: 0, runs: 1 };
    writeFileSync(file, JSON.stringify({ run: 'a', rows: [{ what: 'hrsam-tiny encoder', ...row }] }));
    const measured = async (batch: string) => {
      const model = ['-w', 'random:hrsam-tiny', '--size', '128', '--dtype', 'f32', '--batch', batch];
      const args = ['bench', '--only', 'encoder', ...model, '-d', 'cpu', '-o', file];
      expect((await hrsam(args, { env: { HRSAM_BENCH_RUN: 'a' } })).code).toBe(0);
      const { rows } = JSON.parse(readFileSync(file, 'utf8')) as { rows: (typeof row & { what: string })[] };
      return rows
        .filter(({ what }) => what === 'hrsam-tiny encoder')
        .map((each) => [each.batch, each.median > 0]);
    };
    expect(await measured('1')).toEqual([[1, false]]);
    expect(await measured('2')).toEqual([
      [1, false],
      [2, true],
    ]);
  });

  test('refuses groups that it does not have', async () => {
    const { code, stderr } = await hrsam(['bench', '--only', 'gemm,nothing']);
    expect(code).toBe(2);
    expect(stderr).toContain('Expected some of gemm,attention,scan,memory,call,encoder,train.');
  });
});

test.runIf(process.platform === 'linux')(
  'Node’s pool, where pictures are decoded, has a thread for each core, or as many as it is told',
  async () => {
    const probe = scratch('hrsam-cli-')('probe.cjs');
    // The pool begins with the first work for it: here with a file that is read at the end.
    writeFileSync(
      probe,
      `const { readdirSync, readFile } = require('fs');
       process.once('beforeExit', () => readFile(__filename, () =>
         console.error(process.env.UV_THREADPOOL_SIZE, readdirSync('/proc/self/task').length)));`,
    );
    const threads = async (size?: string) => {
      const env = { NODE_OPTIONS: `--require ${probe}`, UV_THREADPOOL_SIZE: size };
      const { stderr } = await hrsam(['info', 'hrsam-tiny'], { env });
      return stderr.trim().split(' ').map(Number);
    };
    const [few, many] = [await threads('3'), await threads('40')];
    expect([few[0], many[0], many[1]! - few[1]!]).toEqual([3, 40, 37]);
    const usual = Math.max(4, availableParallelism());
    expect(await threads()).toEqual([usual, few[1]! - 3 + usual]);
  },
);

test.runIf(process.platform === 'linux')(
  'a bench that is ended takes its child and its files along',
  async () => {
    const tmp = scratch('hrsam-cli-')();
    const args = ['bench', '--only', 'encoder', '-w', 'random:hrsam-tiny', '-d', 'cpu', '--size', '4096'];
    const child = spawn(process.execPath, [join(root, 'dist/hrsam.cjs'), ...args], {
      env: { ...process.env, TMPDIR: tmp },
    });
    const children = () => {
      const list = readFileSync(`/proc/${child.pid}/task/${child.pid}/children`, 'utf8');
      return list.split(' ').filter(Boolean).map(Number);
    };
    while (children().length === 0) await setTimeout(50);
    const [measuring] = children();
    expect(readdirSync(tmp)).toHaveLength(1);
    await setTimeout(300);
    child.kill('SIGTERM');
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect(code).toBe(143);
    expect(readdirSync(tmp)).toEqual([]);
    const isThere = () => existsSync(`/proc/${measuring}`);
    for (let waited = 0; isThere() && waited < 5000; waited += 50) await setTimeout(50);
    expect(isThere()).toBe(false);
  },
);
