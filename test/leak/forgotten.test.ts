import { describe, expect, it } from 'vitest';
import { runModule } from '../support/child.js';

describe('what is forgotten', () => {
  it('is freed by the collector, arrays that look into it keeping it alive', async () => {
    const { code, stdout, stderr } = await runModule(
      `
      import { Device } from 'hrsam';
      const cpu = Device.open('cpu');
      const live = async () => {
        for (let i = 0; i < 4; i++) {
          gc();
          await new Promise((resolve) => setImmediate(resolve));
        }
        return cpu.memory().buffers;
      };
      const steps = [await live()];
      let kept = (() => {
        for (let i = 0; i < 100; i++) cpu.tensor([1000], 'f32');
        return cpu.tensor([1000], 'f32', new Float32Array(1000).fill(4));
      })();
      steps.push(await live());
      let view = await kept.data();
      kept = undefined;
      steps.push(await live());
      if (!view.every((value) => value === 4)) throw new Error('the view lost its memory');
      view = undefined;
      steps.push(await live());
      console.log(steps.join());
      `,
      { flags: ['--expose-gc'] },
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toBe('0,4000,4000,0\n');
  });

  it('counts for the collector, which therefore comes in time by itself', async () => {
    const { code, stdout } = await runModule(`
      import { Device } from 'hrsam';
      const cpu = Device.open('cpu');
      // 8 GB in all: only handles of a few bytes each, were it not for what hangs on them.
      for (let i = 0; i < 1000; i++) {
        cpu.tensor([2 ** 21], 'f32');
        await new Promise((resolve) => setImmediate(resolve));
      }
      console.log(cpu.memory().peak);
    `);
    expect(code).toBe(0);
    expect(Number(stdout)).toBeLessThan(2 ** 31);
  });
});
