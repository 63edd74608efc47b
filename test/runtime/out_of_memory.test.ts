import { existsSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { runModule } from '../support/child.js';

const PRLIMIT = '/usr/bin/prlimit';

describe.skipIf(!existsSync(PRLIMIT))('out of memory', () => {
  it('is an error after which the model still works', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { spawnSync } from 'node:child_process';
      import { readFileSync } from 'node:fs';
      import { HRSAM } from 'hrsam';
      const pixels = { data: new Uint8Array(64 * 48 * 3).fill(90), width: 64, height: 48, channels: 3 };
      const model = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
      const fingerprint = async () => {
        using image = await model.encode(pixels);
        const [mask] = await image.segment({ points: [[30, 20]] });
        return [mask.area, mask.score, ...mask.logits.data.slice(0, 3)].join();
      };
      const before = await fingerprint();
      const kept = model.device.memory().buffers;
      // 250 MB more than now: none of these has room.
      const now = 1024 * Number(/VmPeak:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
      spawnSync('${PRLIMIT}', ['--pid', process.pid, '--as=' + (now + 250e6)]);
      const codes = [];
      for (const size of [4096, 4096, 8192]) {
        await model.encode(pixels, { size }).then(
          () => codes.push('fits'),
          (error) => codes.push(error.constructor.name + ' ' + error.code, /^out of memory: |MiB available$/.test(error.message)),
        );
      }
      const leaked = model.device.memory().buffers - kept;
      console.log(JSON.stringify({ codes, same: before === (await fingerprint()), leaked }));
    `);
    expect(stderr).toBe('');
    expect(code).toBe(0);
    const oom = 'HrsamError ERR_OUT_OF_MEMORY';
    const { codes, same, leaked } = JSON.parse(stdout);
    expect({ codes, same }).toEqual({ codes: [oom, true, oom, true, oom, true], same: true });
    // The collector may have freed something of before.
    expect(leaked).toBeLessThanOrEqual(0);
  });

  it("is an error as well where a device's own thread finds no room", async () => {
    const { stdout, stderr } = await runModule(`
      import { spawnSync } from 'node:child_process';
      import { readFileSync } from 'node:fs';
      import { Device } from 'hrsam';
      const limit = (bytes) => spawnSync('${PRLIMIT}', ['--pid', process.pid, '--as=' + bytes + ':']);
      const stack = 1024 * Number(spawnSync('sh', ['-c', 'ulimit -s'], { encoding: 'utf8' }).stdout);
      const { threads } = Device.list('cpu')[0];
      const now = 1024 * Number(/VmSize:\\s+(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]);
      // For the threads that compute, not for the one that hands out their work.
      limit(now + (threads - 0.5) * (stack + 4096));
      let failed;
      try {
        Device.open('cpu');
      } catch (error) {
        failed = [error.constructor.name, error.code, error.message.slice(0, 15)];
      }
      limit('unlimited');
      console.log(JSON.stringify({ failed, later: Device.open('cpu').name }));
    `);
    expect(stderr).toBe('');
    expect(JSON.parse(stdout)).toEqual({
      failed: ['HrsamError', 'ERR_OUT_OF_MEMORY', "a device's thre"],
      later: 'cpu',
    });
  });

  it('is known before pictures are made ready, and what a run left is counted as free', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { spawnSync } from 'node:child_process';
      import { readFileSync } from 'node:fs';
      import { HRSAM } from 'hrsam';
      const pixels = { data: new Uint8Array(64 * 48 * 3).fill(90), width: 64, height: 48, channels: 3 };
      const model = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
      (await model.encode(pixels, { size: 2048 })).dispose();
      const status = () => readFileSync('/proc/self/status', 'utf8').split('\\n');
      const most = (what) => 1024 * parseInt(status().find((line) => line.startsWith(what)).slice(what.length + 1));
      const before = most('VmHWM');
      // Enough for the pixels of 8192², 805 MB, but not for the layers.
      spawnSync('${PRLIMIT}', ['--pid', process.pid, '--as=' + (most('VmSize') + 1e9)]);
      const code = await model.encode(pixels, { size: 8192 }).then(() => 'fits', (error) => error.code);
      const grown = most('VmHWM') - before;
      spawnSync('${PRLIMIT}', ['--pid', process.pid, '--as=' + (most('VmSize') + 150e6)]);
      (await model.encode(pixels, { size: 2048 })).dispose();
      console.log(JSON.stringify({ code, grown }));
    `);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const found = JSON.parse(stdout);
    expect(found.code).toBe('ERR_OUT_OF_MEMORY');
    expect(found.grown).toBeLessThan(300e6);
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
