import { describe, expect, it } from 'vitest';
import { HrsamError } from '../../lib/errors.js';
import { Device } from '../../lib/runtime/device.js';
import { runModule } from '../support/child.js';
import { codeOf, errorOf } from '../support/errors.js';

const cpu = Device.open('cpu');

/** Why CUDA cannot be used here; undefined where it can. */
const cudaProblem = (() => {
  try {
    Device.open('cuda');
    return undefined;
  } catch (error) {
    if (error instanceof HrsamError) return error;
    throw error;
  }
})();

describe('devices', () => {
  it('are one object per processor', () => {
    expect(Device.open('cpu:0')).toBe(cpu);
    expect(cpu.name).toBe('cpu');
  });

  it('describe themselves', () => {
    const info = cpu.info();
    expect(info.threads).toBeGreaterThan(0);
    expect(info.memory).toBeGreaterThan(2 ** 28);
    expect(info.detail).toMatch(/using \w+; available:.* scalar/);
  });

  it.each(['gpu', '', 'cuda:', 'cuda:x', 'cuda:-1', 'CPU', 'cpu:0:0', 'cuda:9999', 'auto:1'])(
    'refuses the unknown name %j',
    async (name) => {
      const error = await errorOf(() => Device.open(name));
      expect(error.code).toBe('ERR_DEVICE');
      expect(error.message).toContain('cpu, cuda, cuda:N or auto');
    },
  );

  it.each(['gpu', 5, null])('lists none of the kind %j', async (kind) => {
    expect(await codeOf(() => Device.list(kind as never))).toBe('ERR_DEVICE');
  });

  it('knows only one CPU', async () => {
    const error = await errorOf(() => Device.open('cpu:1'));
    expect(error.code).toBe('ERR_DEVICE');
    expect(error.message).toContain('only cpu:0');
  });

  it.skipIf(!cudaProblem)('says why CUDA cannot be used and what to do', () => {
    expect(cudaProblem!.code).toBe('ERR_DEVICE');
    expect(cudaProblem!.message).toMatch(
      /no CUDA backend|no NVIDIA driver, or too old|shows no GPU|compute capability/,
    );
    expect(cudaProblem!.message).toMatch(/npm run build|Install a driver|nvidia-smi|Use the device 'cpu'/);
  });

  it('says how to build a CUDA backend that is missing: anew, what is there stays as it is', async () => {
    const source = `
      import { Device } from 'hrsam';
      try { Device.open('cuda'); } catch (error) { console.log(error.code, error.message); }
    `;
    const { stdout } = await runModule(source, { env: { HRSAM_CUDA_LIBRARY: '/nowhere/hrsam_cuda.so' } });
    expect(stdout).toMatch(
      /^ERR_DEVICE cuda: this build has no CUDA backend .* remove build\/, then npm run/,
    );
  });

  it.skipIf(!cudaProblem)('takes the CPU for auto and says so once', async () => {
    const { code, stdout, stderr } = await runModule(`
      import { Device } from 'hrsam';
      console.log(Device.open('auto').name, Device.open('auto').name);
    `);
    expect(code).toBe(0);
    expect(stdout).toBe('cpu cpu\n');
    expect(stderr).toMatch(/^hrsam: using the CPU \(.+\)\n$/);
  });

  it('tell how many threads they were given', async () => {
    const before = cpu.threads;
    expect(before).toBeGreaterThan(0);
    await cpu.setThreads(3);
    expect(cpu.threads).toBe(3);
    await cpu.setThreads(before);
  });

  it.each([0, -1, 1.5, Number.NaN, 1025, '2'])('refuses %j threads', async (threads) => {
    expect(await codeOf(() => cpu.setThreads(threads as number))).toBe('ERR_ARGUMENT');
  });

  it('counts the bytes of live tensors', () => {
    const before = cpu.memory().buffers;
    const tensor = cpu.tensor([1024, 3], 'f32');
    expect(cpu.memory().buffers).toBe(before + 12288);
    tensor.dispose();
    expect(cpu.memory().buffers).toBe(before);
  });
});
