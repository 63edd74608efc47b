import { spawnSync } from 'node:child_process';
import { cpus } from 'node:os';
import { describe, expect, test } from 'vitest';
import { root } from '../support/files.js';

const python = process.env.HRSAM_PYTHON ?? 'python3';
const run = (...args: string[]) => spawnSync(python, args, { cwd: root, encoding: 'utf8' });
const hasTorch = run('-c', 'import torch').status === 0;

describe.runIf(hasTorch)('rivals', () => {
  test('compute what the authors’ code computes', () => {
    const { status, stderr } = run('bench/rivals/pytorch.py', '--check', 'test/fixtures/reference');
    expect(stderr).not.toContain('WRONG');
    expect(stderr).toMatch(/(\d+) of \1 agree/);
    expect(status).toBe(0);
  }, 300_000);

  test('make a document as the bench does; what a back end refuses is left out', () => {
    const program = `
import json, sys
sys.path.insert(0, "bench/rivals")
from measuring import Rows, document
rows = Rows("cpu")
make = lambda: [rows.normal("f32", 8)]
def refuse(x): raise RuntimeError("not this shape")
rows.add("sum", "torch.add", "f32", "8", 1, make, lambda x: x + x, flops=8)
rows.add("sum", "another", "f32", "8", 1, make, refuse)
print(json.dumps(document(rows)))`;
    const env = { ...process.env, HRSAM_BENCH_RUN: 'this one', HRSAM_COMMIT: 'abc' };
    const { status, stdout, stderr } = spawnSync(python, ['-c', program], {
      cwd: root,
      encoding: 'utf8',
      env,
    });
    expect(stderr).toContain('sum, 8, f32, batch 1, another: left out: not this shape');
    expect(status).toBe(0);
    const { rows, ...document } = JSON.parse(stdout);
    expect(document).toMatchObject({ schema: 1, run: 'this one', commit: 'abc' });
    expect(document.device.name).toBe(cpus()[0]?.model);
    expect(document.by).toMatch(/^PyTorch \d/);
    const number = expect.any(Number);
    const expected = { what: 'sum', by: 'torch.add', device: 'cpu', dtype: 'f32', size: '8', batch: 1 };
    expect(rows).toEqual([{ ...expected, median: number, spread: number, runs: 10, gflops: number }]);
  }, 60_000);
});
