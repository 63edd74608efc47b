import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { decodeBatch } from '../../lib/cli/decode_batch.js';
import type { TensorPrompt } from '../../lib/cli/prompts_file.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';

let model: HRSAM;
beforeAll(async () => {
  model = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
});
afterAll(() => model.dispose());

const COUNT = 150;
const boxes: TensorPrompt['boxes'] = Array.from({ length: COUNT }, (_, i) => [i % 20, i % 30, 70 + i, 90]);

test.each<[string, TensorPrompt]>([
  ['boxes', { name: 'p', boxes }],
  ['a mask each', { name: 'p', mask_logits: { name: 'm', shape: [COUNT, 1, 32, 32], offset: 0, scale: 8 } }],
  [
    'one mask for all',
    { name: 'p', boxes, mask_logits: { name: 'm', shape: [1, 32, 32], offset: 0, scale: 8 } },
  ],
])('prompts about one embedding take turns, and are answered as they are together: %s', async (_, prompt) => {
  const values = Float32Array.from({ length: 64 * 64 }, (_, i) => Math.sin(i));
  using embedding = model.device.tensor([1, 8, 8, 64], 'f32', values);
  const decode = vi.spyOn(model.network, 'decode');
  const { shape, masks, ious } = await decodeBatch(
    model.network,
    embedding,
    prompt,
    new Map(),
    'prompts.json',
  );
  const counts = decode.mock.calls.map(([{ points }]) => points.shape[0]);
  decode.mockRestore();
  expect(counts).toEqual([64, 64, 22]);
  expect([shape, masks.length, ious.length]).toEqual([[COUNT, 4, 32, 32], COUNT * 4 * 32 * 32, COUNT * 4]);

  // With an embedding each, all are decoded at once.
  const each = new Float32Array(COUNT * values.length);
  for (let i = 0; i < COUNT; i++) each.set(values, i * values.length);
  using own = model.device.tensor([COUNT, 8, 8, 64], 'f32', each);
  const together = await decodeBatch(model.network, own, prompt, new Map(), 'prompts.json');
  expect(together.shape).toEqual(shape);
  expect(Buffer.compare(Buffer.from(together.masks.buffer), Buffer.from(masks.buffer))).toBe(0);
  expect(together.ious).toEqual(ious);
});
