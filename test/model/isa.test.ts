import { execFile } from 'node:child_process';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { beforeAll, describe, expect, it } from 'vitest';
import { BF16_MODEL, expectClose, expectWithin } from '../support/compare.js';
import { root, scratch } from '../support/files.js';
import { HostTensors } from '../support/reference.js';
import { device } from '../support/run.js';

const vitest = join(dirname(createRequire(import.meta.url).resolve('vitest/package.json')), 'vitest.mjs');
const isas = /available: (.*)$/.exec(device.info().detail)?.[1]?.split(' ') ?? [];

/** Runs test/isa/results.ts in a process that uses one instruction set. */
async function results(isa: string, folder: string): Promise<HostTensors> {
  const file = join(folder, `${isa}.safetensors`);
  const env = { ...process.env, HRSAM_CPU_ISA: isa, HRSAM_RESULTS: file };
  const args = [vitest, 'run', '--root', root, '--config', 'test/isa/vitest.config.ts'];
  await promisify(execFile)(process.execPath, args, { env, cwd: root });
  return HostTensors.open(file);
}

// The scalar code is what a compiler makes of plain loops: the others have to agree with it.
describe.runIf(device.kind === 'cpu' && !process.env.HRSAM_CPU_ISA)('instruction sets', () => {
  const folder = scratch('hrsam-isa-')();
  let scalar: HostTensors;

  beforeAll(async () => {
    scalar = await results('scalar', folder);
  });

  it('are listed, scalar among them', () => expect(isas).toContain('scalar'));

  it.each(isas.filter((isa) => isa !== 'scalar'))('%s agrees with scalar', async (isa) => {
    const own = await results(isa, folder);
    for (const name of scalar.names()) {
      const [actual, want] = [own.get(name).data, scalar.get(name).data];
      if (name.startsWith('f32')) {
        expectClose(actual, want, {}, name);
        // another order of sums shows: the same bits would mean the same code
        expect(actual, name).not.toEqual(want);
      } else expectWithin(actual, want, { relL2: BF16_MODEL }, name);
    }
  });

  it('are refused by names that are none', async () => {
    await expect(results('mmx', folder)).rejects.toThrow(/Command failed/);
  });
});
