import { describe, expect, it } from 'vitest';
import type { HRSAM } from '../../lib/predictor/hrsam.js';
import { errorOf } from '../support/errors.js';
import { heldBytes } from '../support/memory.js';
import { picture, randomModel } from './support/models.js';

const [HEIGHT, WIDTH] = [60, 90];

async function useAndDispose(model: HRSAM): Promise<void> {
  using image = await model.encode(picture(HEIGHT, WIDTH));
  const session = image.session();
  await session.click(20, 30);
  await session.click(70, 50, 0);
  await image.segment([{ box: [1, 1, 60, 50] }, { points: [[4, 4]] }], { multimask: 'auto' });
}

async function useAndForget(model: HRSAM): Promise<void> {
  const image = await model.encode(picture(HEIGHT, WIDTH));
  await image.segment({ points: [[20, 30]], multimask: true });
}

async function fail(model: HRSAM): Promise<void> {
  const good = picture(HEIGHT, WIDTH);
  const mask = (side: number) => ({ data: new Float32Array(side * side), height: side, width: side });
  using image = await model.encode(good);
  await errorOf(() => model.encodeBatch([good, { ...good, width: 7 }]));
  await errorOf(() => model.encode(good, { signal: AbortSignal.abort() }));
  await errorOf(() => image.segment({ points: [[-1, 0]] }));
  await errorOf(() => image.segment([{ points: [[4, 4]] }, { mask: mask(64) }, { mask: mask(32) }]));
}

describe.each(['hrsam-tiny', 'hrsam++-tiny', 'sam-tiny'])('memory, %s', (preset) => {
  it.each([
    ['pictures that were used and disposed', useAndDispose],
    ['pictures that were used and forgotten', useAndForget],
    ['calls that failed', fail],
  ])('is free again after %s', async (_, use) => {
    const model = await randomModel(preset);
    await use(model);
    const before = await heldBytes();
    for (let i = 0; i < 10; i++) await use(model);
    expect(await heldBytes()).toBe(before);
  });
});
