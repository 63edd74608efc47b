import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { hasKernelsOnCpu, kernelsOnCpu } from '../support/kernels_on_cpu.js';
import { ask, model, refused, send, sent, serve } from './support.js';

// In this order: what is lost stays lost.
describe.runIf(hasKernelsOnCpu)('a GPU that fails', () => {
  let gpu: HRSAM;
  beforeAll(async () => {
    process.env.HRSAM_CUDA_LIBRARY ??= kernelsOnCpu;
    gpu = await HRSAM.load('random:hrsam-tiny', { device: 'cuda' });
  });
  afterAll(() => {
    delete process.env.HRSAM_TEST_GPU_LOST;
    gpu.dispose();
  });
  const health = async (server: ReturnType<typeof serve>) => {
    const response = await server.inject('/health');
    return { code: response.statusCode, ...response.json() };
  };

  it('is told apart from other errors and left out, others take its pictures, and health says so', async () => {
    const [both, alone] = [serve({ batch: 1 }, [gpu, model]), serve({ batch: 1 }, [gpu])];
    const before = await sent(both, undefined, '?size=64');
    expect((await ask(before, { points: [[9, 9]] }, 'masks', both)).statusCode).toBe(200);
    expect(await health(both)).toMatchObject({ code: 200, status: 'ok', device: 'cuda:0,cpu' });
    expect((await health(both)).lost).toBeUndefined();

    process.env.HRSAM_TEST_GPU_LOST = '1';
    const statuses = await Promise.all(Array.from({ length: 6 }, () => send(both, undefined, '?size=64')));
    expect(statuses.map(({ statusCode }) => statusCode)).toEqual(Array(6).fill(201));
    expect(gpu.device.lost).toBe(true);
    expect(model.device.lost).toBe(false);
    expect(await health(both)).toMatchObject({
      code: 200,
      status: 'degraded',
      device: 'cuda:0,cpu',
      lost: 'cuda:0',
    });
    const metrics = (await both.inject('/metrics')).body;
    expect(metrics).toContain('hrsam_device_lost{device="cuda:0"} 1');
    expect(metrics).toContain('hrsam_device_lost{device="cpu"} 0');

    const [{ images }, gone] = [await health(both), await refused(ask(before, {}, 'masks', both))];
    expect(gone).toMatchObject({ statusCode: 404, code: 'ERR_DISPOSED' });
    expect((await health(both)).images).toBe(images - 1);

    expect(await refused(send(alone))).toMatchObject({ statusCode: 503, code: 'ERR_DEVICE_LOST' });
    expect(await health(alone)).toMatchObject({ code: 503, status: 'lost', lost: 'cuda:0' });
    await expect(gpu.encode({ data: new Uint8Array(12), width: 2, height: 2, channels: 3 })).rejects.toThrow(
      expect.objectContaining({ name: 'HrsamError', code: 'ERR_DEVICE_LOST' }),
    );
  });
});
