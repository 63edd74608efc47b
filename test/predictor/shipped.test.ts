import { statSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { decodeImage } from '../../lib/image/decode.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { elementCount } from '../../lib/runtime/dtype.js';
import { expectedTensors } from '../../lib/weights/expected.js';
import { shippedWeights } from '../../lib/weights/shipped.js';
import { photograph } from '../support/files.js';

describe('the model included', () => {
  let model: HRSAM;
  beforeAll(async () => {
    model = await HRSAM.load(undefined, { device: 'cpu' });
  });
  afterAll(() => model.dispose());

  it('is small, and an HRSAM++', () => {
    const parameters = expectedTensors(model.config).reduce((sum, { shape }) => sum + elementCount(shape), 0);
    expect(parameters).toBeLessThan(12e6);
    expect(statSync(shippedWeights()).size).toBeLessThan(25e6);
    expect(model.config).toMatchObject({ family: 'hrsam', variant: 'hrsam++' });
  });

  it('answers at its own size first in pictures that are larger', async () => {
    const pixels = {
      data: new Uint8Array(3 * 40 * 30).fill(90),
      width: 40,
      height: 30,
      channels: 3,
    } as const;
    using large = await model.encode(pixels, { size: 1040 });
    expect(large.coarse?.input).toEqual({ width: 1024, height: 1024 });
    using own = await model.encode(pixels);
    expect(own.coarse).toBeUndefined();
  });

  it('leaves out what is apart from a click, unless told not to', async () => {
    using image = await model.encode(await decodeImage(photograph));
    const prompt = { points: [[390, 560] as const] };
    const area = async (minRegion?: number) => (await image.segment({ ...prompt, minRegion }))[0].area;
    expect(await area()).toBe(await area(0.1));
    expect(await area()).toBeLessThan(await area(0));
  });

  it('cuts a flower out of its plain ground', async () => {
    const pixels = await decodeImage(photograph);
    const { width, height, data } = pixels;
    // The ground is light, the plant is not: what is darker than it is the plant.
    const plant = (i: number) => data[3 * i]! + data[3 * i + 1]! + data[3 * i + 2]! < 3 * 185;
    using image = await model.encode(pixels);
    const session = image.session();
    for (const [x, y] of [
      [390, 560],
      [140, 215],
      [300, 220],
      [520, 220],
      [690, 240],
      [430, 900],
    ] as const)
      await session.click(x, y);
    const mask = session.mask!.pixels();
    let [both, either] = [0, 0];
    for (let i = 0; i < width * height; i++) {
      const inside = mask[i] !== 0;
      if (inside && plant(i)) both++;
      if (inside || plant(i)) either++;
    }
    expect(both / either).toBeGreaterThan(0.85);
  });
});
