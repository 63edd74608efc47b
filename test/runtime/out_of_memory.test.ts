import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runModule } from '../support/child.js';

const PRLIMIT = '/usr/bin/prlimit';

/** What Node itself reserves is about 1 GB; the encodes here want several more. */
const LIMIT = 2_500_000_000;

describe.skipIf(!existsSync(PRLIMIT))('out of memory', () => {
  it('is an error after which the model still works', async () => {
    const { code, stdout, stderr } = await runModule(
      `
      import { Device, HRSAM } from 'hrsam';
      const pixels = { data: new Uint8Array(64 * 48 * 3).fill(90), width: 64, height: 48, channels: 3 };
      const model = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
      const fingerprint = async () => {
        using image = await model.encode(pixels);
        const [mask] = await image.segment({ points: [[30, 20]] });
        return [mask.area, mask.score, ...mask.logits.data.slice(0, 3)].join();
      };
      const before = await fingerprint();
      const kept = model.device.memory().buffers;
      const codes = [];
      for (const size of [8192, 12288, 16384]) {
        await model.encode(pixels, { size }).then(
          (image) => { codes.push('fits'); image.dispose(); },
          (error) => codes.push(error.constructor.name + ' ' + error.code),
        );
      }
      console.log(JSON.stringify({ codes, same: before === await fingerprint(), leaked: model.device.memory().buffers - kept }));
      `,
      { wrapper: [PRLIMIT, `--as=${LIMIT}`] },
    );
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const oom = 'HrsamError ERR_OUT_OF_MEMORY';
    expect(JSON.parse(stdout)).toEqual({ codes: [oom, oom, oom], same: true, leaked: 0 });
  });

  it('in the machine as a whole is refused before it is touched', async () => {
    const { code, stdout } = await runModule(`
      import { Device } from 'hrsam';
      const cpu = Device.open('cpu');
      try {
        cpu.tensor([Math.floor(cpu.info().memory / 4)], 'f32');
      } catch (error) {
        console.log(error.code);
      }
    `);
    expect(code).toBe(0);
    expect(stdout).toBe('ERR_OUT_OF_MEMORY\n');
  });
});
