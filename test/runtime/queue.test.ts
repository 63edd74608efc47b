import { monitorEventLoopDelay } from 'node:perf_hooks';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import type { EncodedImage } from '../../lib/predictor/image.js';
import { codeOf, errorOf } from '../support/errors.js';
import { heldBytes } from '../support/memory.js';
import { testPicture } from '../support/pictures.js';

const PICTURE = testPicture(300, 200);
/** Long against everything else here: 64 times the model's own size. */
const LONG = { size: 2048 };

const order = () => {
  const names: string[] = [];
  return { names, note: <T>(name: string, promise: Promise<T>) => promise.finally(() => names.push(name)) };
};

describe('work of several callers', () => {
  let model: HRSAM;
  let image: EncodedImage;
  beforeAll(async () => {
    model = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
    image = await model.encode(PICTURE);
    await image.segment({ points: [[10, 20]] });
    (await model.encode(PICTURE, LONG)).dispose();
  });
  afterAll(() => model.dispose());

  const logits = async (promise: Promise<readonly { logits: { data: Float32Array } }[]>) =>
    Buffer.from((await promise)[0]!.logits.data.slice().buffer);

  // Again where another process takes the cores between the two measurements.
  it('a click passes a long encode', { retry: 3 }, async () => {
    const start = performance.now();
    (await model.encode(PICTURE, LONG)).dispose();
    const whole = performance.now() - start;
    const { names, note } = order();
    const encode = note('encode', model.encode(PICTURE, LONG));
    // While the encoder itself runs, not the preprocessing before it.
    await new Promise((resolve) => setTimeout(resolve, whole / 2));
    const click = note('click', image.segment({ points: [[100, 50]] }));
    await Promise.all([click, encode.then((encoded) => encoded.dispose())]);
    expect(names).toEqual(['click', 'encode']);
  });

  it('an encode goes on however many clicks keep coming', async () => {
    let done = false;
    const encode = model.encode(PICTURE, LONG).finally(() => {
      done = true;
    });
    // Of several callers, one click always waits.
    const caller = async () => {
      while (!done) await image.segment({ points: [[100, 50]] });
    };
    await Promise.all([caller(), caller(), caller(), encode.then((encoded) => encoded.dispose())]);
  });

  it('gives every caller the bytes it gets alone', async () => {
    const clicks = Array.from({ length: 12 }, (_, i) => [10 + i * 20, 5 + i * 15] as const);
    const alone: Buffer[] = [];
    for (const click of clicks) alone.push(await logits(image.segment({ points: [click] })));
    const own = Buffer.from((await image.embedding.data()).slice().buffer);
    const [together, encoded] = await Promise.all([
      Promise.all(clicks.map((click) => logits(image.segment({ points: [click] })))),
      Promise.all([model.encode(PICTURE), model.encode(PICTURE, LONG), model.encode(PICTURE)]),
    ]);
    for (const [i, bytes] of together.entries()) expect(bytes.equals(alone[i]!)).toBe(true);
    for (const same of [encoded[0]!, encoded[2]!])
      expect(Buffer.from((await same.embedding.data()).slice().buffer).equals(own)).toBe(true);
    for (const each of encoded) each.dispose();
  });

  it.each(['f32', 'bf16'] as const)('gives the same bytes for any number of threads (%s)', async (dtype) => {
    using threaded = await HRSAM.load('random:hrsam++-tiny', { device: 'cpu', dtype });
    const results: Buffer[][] = [];
    for (const threads of [1, 2, 3, 7]) {
      await threaded.device.setThreads(threads);
      using encoded = await threaded.encode(PICTURE, { size: 272 });
      const embedding = Buffer.from((await encoded.embedding.data()).slice().buffer);
      results.push([embedding, await logits(encoded.segment({ points: [[150, 100]] }))]);
    }
    await threaded.device.setThreads(2);
    for (const result of results.slice(1)) {
      expect(result[0]!.equals(results[0]![0]!)).toBe(true);
      expect(result[1]!.equals(results[0]![1]!)).toBe(true);
    }
  });

  it('leaves the event loop free while it encodes', { retry: 3 }, async () => {
    /** 99th percentile of the event loop's delay during `work`, in milliseconds. */
    const delayDuring = async (work: () => Promise<unknown>) => {
      const delay = monitorEventLoopDelay({ resolution: 1 });
      delay.enable();
      await work();
      delay.disable();
      return delay.percentile(99) / 1e6;
    };
    // What other processes on this machine add to it.
    const idle = await delayDuring(() => new Promise((resolve) => setTimeout(resolve, 300)));
    const encoding = await delayDuring(async () => {
      const encoded = await Promise.all([model.encode(PICTURE, LONG), model.encode(PICTURE)]);
      for (const each of encoded) each.dispose();
    });
    expect(encoding).toBeLessThan(10 + idle);
  });

  describe('an AbortSignal', () => {
    it('ends a request before it begins', async () => {
      const reason = new Error('changed my mind');
      const error = await errorOf(() => model.encode(PICTURE, { signal: AbortSignal.abort(reason) }));
      expect(error.code).toBe('ERR_ABORTED');
      expect(error.cause).toBe(reason);
      expect(await codeOf(() => image.segment({ points: [[1, 1]], signal: AbortSignal.abort() }))).toBe(
        'ERR_ABORTED',
      );
    });

    it('ends a request that waits, and no other', async () => {
      const first = model.encode(PICTURE, LONG);
      const controller = new AbortController();
      const second = model.encode(PICTURE, { ...LONG, signal: controller.signal });
      const third = model.encode(PICTURE);
      const reason = new Error('changed my mind');
      setTimeout(() => controller.abort(reason), 20);
      const error = await errorOf(() => second);
      expect([error.code, error.cause]).toEqual(['ERR_ABORTED', reason]);
      for (const encoded of [await first, await third]) encoded.dispose();
    });

    // Again where another process takes the cores during the first.
    it('ends a run between two of its steps', { retry: 3 }, async () => {
      const start = performance.now();
      (await model.encode(PICTURE, LONG)).dispose();
      const whole = performance.now() - start;
      const before = await heldBytes();
      const again = performance.now();
      const signal = AbortSignal.timeout(Math.ceil(whole / 4));
      expect(await codeOf(() => model.encode(PICTURE, { ...LONG, signal }))).toBe('ERR_ABORTED');
      expect(performance.now() - again).toBeLessThan(0.8 * whole);
      expect(await heldBytes()).toBe(before);
      using encoded = await model.encode(PICTURE);
      expect(encoded.disposed).toBe(false);
    });

    it('may be that of many requests', async () => {
      const warnings: Error[] = [];
      const onWarning = (warning: Error) => warnings.push(warning);
      process.on('warning', onWarning);
      const { signal } = new AbortController();
      const requests = Array.from({ length: 12 }, () => image.segment({ points: [[5, 5]], signal }));
      await Promise.all(requests);
      await new Promise(setImmediate);
      process.off('warning', onWarning);
      expect(warnings).toEqual([]);
    });

    it('does nothing once the request is over', async () => {
      const controller = new AbortController();
      using encoded = await model.encode(PICTURE, { signal: controller.signal });
      controller.abort();
      expect((await encoded.segment({ points: [[5, 5]] })).length).toBe(1);
    });
  });
});
