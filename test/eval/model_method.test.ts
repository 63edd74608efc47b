import { beforeAll, describe, expect, it, vi } from 'vitest';
import { ModelMethod } from '../../lib/eval/method.js';
import { clickFlops } from '../../lib/predictor/flops.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { device } from '../support/run.js';
import { labelled, maskOf, run, scene, set, small } from './scene.js';

describe('a model', () => {
  let model: HRSAM;
  beforeAll(async () => {
    model = await HRSAM.load('random:hrsam-tiny', { device });
    return () => model.dispose();
  });

  it('is asked as a click session asks it', async () => {
    const picture = scene(small);
    const { objects } = await run(
      new ModelMethod([model], { size: 128 }),
      set(labelled('a', { o: maskOf(small) })),
      {
        clicks: 3,
      },
    );
    using image = await model.encode(picture, { size: 128, divisor: 32 });
    const session = image.session();
    for (const { x, y, label } of objects[0]!.clicks) await session.click(x, y, label);
    expect(objects[0]!.mask).toEqual(session.mask!.rle);
    expect(objects[0]!.score).toBe(session.mask!.score);
    expect(Object.keys(objects[0]!.boundaryIous)).toEqual(['1', '2', '3']);
  });

  it('on several devices shares the pictures and answers as on one', async () => {
    using other = await HRSAM.load('random:hrsam-tiny', { device });
    const data = set(...Array.from({ length: 5 }, (_, i) => labelled(`${i}`, { o: maskOf(small) })));
    const encoded = vi.spyOn(HRSAM.prototype, 'encode');
    const judge = async (models: [HRSAM, ...HRSAM[]], jobs: number) =>
      (await run(new ModelMethod(models, { size: 128 }), data, { clicks: 2, jobs })).objects;
    const both = await judge([model, other], 3);
    expect(new Set(encoded.mock.contexts)).toEqual(new Set([model, other]));
    encoded.mockRestore();
    const masks = (objects: typeof both) =>
      objects.map(({ picture, mask, score }) => ({ picture, mask, score }));
    expect(masks(both)).toEqual(masks(await judge([model], 1)));
  });

  it('a picture that cannot be encoded is no work of its device', async () => {
    using other = await HRSAM.load('random:hrsam-tiny', { device });
    const method = new ModelMethod([model, other]);
    const encode = vi.spyOn(HRSAM.prototype, 'encode').mockRejectedValue(new Error('too large'));
    for (const _ of [1, 2]) await expect(method.open(scene(small))).rejects.toThrow('too large');
    expect(encode.mock.contexts.map((used) => used === model)).toEqual([true, true]);
    encode.mockRestore();
  });

  it('a click costs the same at every picture, four times as much where the side is doubled, but for tokens', () => {
    const [once, twice] = [clickFlops(model.config, 128), clickFlops(model.config, 256)];
    expect(once).toBeGreaterThan(0);
    expect(twice / once).toBeGreaterThan(2);
    expect(twice / once).toBeLessThan(4);
  });
});
