import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { HrsamError } from '../../lib/errors.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { Batches } from '../../lib/server/batches.js';
import { picture, randomModel } from '../predictor/support/models.js';
import { model, pngOf, refused, send, sent, serve } from './support.js';

const PICTURES = Array.from({ length: 7 }, (_, i) => picture(60 + i, 80));
const settled = () => new Promise((resolve) => setTimeout(resolve));

/** Runs of the encoder: whose, of how many pictures at which size, and what ends each. */
function heldRuns() {
  const { encodeBatch } = HRSAM.prototype;
  const runs: { by: HRSAM; count: number; size?: number; end(error?: Error): Promise<unknown> }[] = [];
  vi.spyOn(HRSAM.prototype, 'encodeBatch').mockImplementation(function (this: HRSAM, pictures, options) {
    return new Promise((resolve, reject) => {
      runs.push({
        by: this,
        count: pictures.length,
        size: options?.size,
        end: async (error) => {
          if (error) reject(error);
          else await encodeBatch.call(this, pictures, options).then(resolve, reject);
          await settled();
        },
      });
    });
  });
  return runs;
}

describe('pictures that wait for the encoder', () => {
  let runs: ReturnType<typeof heldRuns>;
  beforeEach(() => {
    runs = heldRuns();
  });
  afterEach(() => vi.restoreAllMocks());
  const told = () => runs.map(({ count, size }) => [count, size]);

  it('go together, in powers of two, and get what each alone would', async () => {
    const batches = new Batches([model], 4);
    const images = PICTURES.map((pixels) => batches.encode(pixels, { size: 64 }));
    expect(told()).toEqual([1, 1].map((count) => [count, 64]));
    for (let i = 0; i < runs.length; i++) await runs[i]!.end();
    expect(told()).toEqual([1, 1, 4, 1].map((count) => [count, 64]));
    vi.restoreAllMocks();
    for (const [i, pending] of images.entries()) {
      using image = await pending;
      using alone = await model.encode(PICTURES[i]!, { size: 64 });
      expect(image.original).toEqual({ height: 60 + i, width: 80 });
      expect(await image.embedding.data()).toEqual(await alone.embedding.data());
    }
  });

  it('go with those that are zoomed in on as they are', async () => {
    const batches = new Batches([model], 8);
    const zooms = [false, false, true, false, true, false];
    const images = zooms.map((zoom, i) => batches.encode(PICTURES[i]!, { size: 64, zoom }));
    for (let i = 0; i < runs.length; i++) await runs[i]!.end();
    expect(runs.map(({ count }) => count)).toEqual([1, 1, 2, 2]);
    for (const [i, pending] of images.entries()) {
      using image = await pending;
      expect(image.zoom !== undefined).toBe(zooms[i]);
    }
  });

  it('go with those of their size alone, the one that has waited the longest first', async () => {
    const batches = new Batches([model], 8);
    const sizes = [64, 64, 96, 64, 96, 64, 64];
    const images = sizes.map((size, i) => batches.encode(PICTURES[i]!, { size }));
    for (let i = 0; i < runs.length; i++) await runs[i]!.end();
    expect(told()).toEqual([
      [1, 64],
      [1, 64],
      [2, 96],
      [2, 64],
      [1, 64],
    ]);
    for (const [i, pending] of images.entries()) {
      using image = await pending;
      expect(image.input.width).toBe(sizes[i]);
    }
  });

  it('go to the model with the least to do', async () => {
    const other = await randomModel('hrsam-tiny');
    const batches = new Batches([model, other], 1);
    const images = PICTURES.map((pixels) => batches.encode(pixels, { size: 64 }));
    const used = () => runs.map(({ by }) => (by === model ? 'model' : 'other'));
    expect(used()).toEqual(['model', 'other', 'model', 'other']);
    await runs[1]!.end();
    await runs[3]!.end();
    expect(used().slice(4)).toEqual(['other', 'other']);
    for (let i = 0; i < runs.length; i++) if (i !== 1 && i !== 3) await runs[i]!.end();
    for (const pending of images) (await pending).dispose();
    other.dispose();
  });

  it('are encoded one by one where memory does not suffice for all', async () => {
    const batches = new Batches([model], 2);
    const images = PICTURES.slice(0, 4).map((pixels) => batches.encode(pixels, { size: 64 }));
    const ended = Promise.allSettled(images);
    await runs[0]!.end();
    await runs[1]!.end();
    await runs[2]!.end(new HrsamError('ERR_OUT_OF_MEMORY', 'too much'));
    await runs[3]!.end(new HrsamError('ERR_OUT_OF_MEMORY', 'too much'));
    await runs[4]!.end();
    expect(told().map(([count]) => count)).toEqual([1, 1, 2, 1, 1]);
    const ends = await ended;
    expect(ends.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'rejected', 'fulfilled']);
    for (const end of ends) if (end.status === 'fulfilled') end.value.dispose();
  });

  it('fail together where the run fails, and the next run is made', async () => {
    const batches = new Batches([model], 2);
    const images = PICTURES.slice(0, 5).map((pixels) => batches.encode(pixels, { size: 64 }));
    const ends = Promise.allSettled(images);
    await runs[0]!.end();
    await runs[1]!.end();
    await runs[2]!.end(new Error('broken'));
    await runs[3]!.end();
    expect((await ends).map(({ status }) => status)).toEqual([
      'fulfilled',
      'fulfilled',
      'rejected',
      'rejected',
      'fulfilled',
    ]);
    for (const end of await ends) if (end.status === 'fulfilled') end.value.dispose();
  });

  it('do not end for others when one is cancelled', async () => {
    const batches = new Batches([model], 2);
    const { buffers } = model.device.memory();
    const leaver = new AbortController();
    const images = PICTURES.slice(0, 4).map((pixels, i) =>
      batches.encode(pixels, { size: 64, signal: i === 2 ? leaver.signal : undefined }),
    );
    const ends = Promise.allSettled(images);
    await runs[0]!.end();
    await runs[1]!.end();
    leaver.abort();
    await runs[2]!.end();
    const [, , left, stayed] = await ends;
    expect(left).toMatchObject({ status: 'rejected', reason: { code: 'ERR_ABORTED' } });
    expect(stayed).toMatchObject({ status: 'fulfilled' });
    for (const end of await ends) if (end.status === 'fulfilled') end.value.dispose();
    // Less where the garbage collector has taken what other tests left.
    expect(model.device.memory().buffers).toBeLessThanOrEqual(buffers);
  });
});

it('a server of several models shares pictures among them and answers about all', async () => {
  const other = await randomModel('hrsam-tiny');
  const encoded = vi.spyOn(HRSAM.prototype, 'encodeBatch');
  const both = serve({ batch: 2 }, [model, other]);
  const pictures = await Promise.all(PICTURES.map(({ height, width }) => pngOf(height, width)));
  const ids = await Promise.all(pictures.map((bytes) => sent(both, bytes, '?size=64')));
  expect(new Set(encoded.mock.contexts)).toEqual(new Set([model, other]));
  encoded.mockRestore();
  for (const id of ids) {
    const { masks } = (
      await both.inject({ method: 'POST', url: `/images/${id}/masks`, body: { points: [[9, 9]] } })
    ).json();
    expect(masks).toHaveLength(1);
  }
  expect(await refused(send(both, Buffer.from('no picture')))).toMatchObject({ statusCode: 422 });
  await both.close();
  other.dispose();
});
