import { beforeAll, describe, expect, it } from 'vitest';
import type { HRSAM } from '../../lib/predictor/hrsam.js';
import type { EncodedImage } from '../../lib/predictor/image.js';
import { SafetensorsFile } from '../../lib/weights/safetensors.js';
import { writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { heldBytes } from '../support/memory.js';
import { contents, picture, randomModel } from './support/models.js';

const clicks = { points: [[70, 40]] } as const;
const more = {
  points: [
    [70, 40],
    [10, 90],
  ] as const,
  labels: [1, 0],
};
const box = { box: [20, 10, 120, 80] } as const;

describe.each(['hrsam-tiny', 'hrsam++-tiny'])('coarse to fine, %s', (preset) => {
  let model: HRSAM;
  let own: number;
  const file = scratch('hrsam-');
  beforeAll(async () => {
    model = await randomModel(preset);
    own = model.config.image.size;
  });

  async function both(): Promise<{ small: EncodedImage; large: EncodedImage; image: EncodedImage }> {
    const pixels = picture(90, 150);
    return {
      small: await model.encode(pixels),
      large: await model.encode(pixels, { size: own + 64 }),
      image: await model.encode(pixels, { size: own + 64, coarseToFine: true }),
    };
  }

  it('answers at the model’s own size first and then, with it as the mask, at full size', async () => {
    const { small, large, image } = await both();
    for (const prompt of [clicks, more, box])
      for (const refinements of [0, 2]) {
        const [first] = await small.segment({ ...prompt, refinements });
        const [expected] = await large.segment({ ...prompt, mask: first!.logits });
        const [answer] = await image.segment({ ...prompt, refinements });
        expect(contents(answer!)).toEqual(contents(expected!));
        const [alone] = await large.segment({ ...prompt, refinements });
        expect(answer!.logits.data).not.toEqual(alone!.logits.data);
      }
    for (const one of [small, large, image]) one.dispose();
  });

  it('goes by each prompt of a list, and takes the mask a prompt brings to both', async () => {
    const { small, large, image } = await both();
    const [mask] = await image.segment(clicks);
    const list = [{ ...more, mask: mask!.logits }, clicks, box, { ...clicks, mask: mask!.logits }];
    const answers = await image.segment(list);
    const expected = await Promise.all(
      list.map(async (prompt) => {
        const [first] = await small.segment(prompt);
        return large.segment({ ...prompt, mask: first!.logits });
      }),
    );
    expect(answers.flat().map(contents)).toEqual(expected.flat().map(contents));
    const session = image.session();
    await session.click(70, 40);
    const second = await session.click(10, 90, 0);
    expect(contents(second)).toEqual(contents(answers[0]![0]!));
    for (const one of [small, large, image]) one.dispose();
  });

  it.each([true, 'best', 'auto'] as const)('leaves multimask %s to the full size', async (multimask) => {
    const { small, large, image } = await both();
    const ask = (one: EncodedImage) => one.segment({ ...clicks, multimask });
    expect((await ask(image)).map(contents)).toEqual((await ask(large)).map(contents));
    for (const one of [small, large, image]) one.dispose();
  });

  it('is for larger pictures alone, and off unless asked for', async () => {
    for (const options of [
      {},
      { coarseToFine: true },
      { size: own, coarseToFine: true },
      { size: own - 64, coarseToFine: true },
      { size: own + 64 },
      { size: own + 64, coarseToFine: false },
    ]) {
      using image = await model.encode(picture(40, 30), options);
      expect(image.coarse).toBeUndefined();
    }
    const wrong = { size: own + 64, coarseToFine: 'yes' as unknown as boolean };
    expect((await errorOf(() => model.encode(picture(40, 30), wrong))).code).toBe('ERR_ARGUMENT');
  });

  it('is kept with a saved picture, and freed with it', async () => {
    const before = await heldBytes();
    const pictures = [picture(90, 150), picture(60, 50)];
    const images = await model.encodeBatch(pictures, { size: own + 64, coarseToFine: true });
    for (const [i, image] of images.entries()) {
      expect(image.bytes).toBe(image.embedding.bytes + image.coarse!.embedding.bytes);
      const path = file(`${i}.safetensors`);
      await model.saveEmbedding(image, path);
      using restored = await model.loadEmbedding(path);
      const request = { points: [[30, 20]] } as const;
      const [kept] = await restored.segment(request);
      expect(contents(kept!)).toEqual(contents((await image.segment(request))[0]!));
    }
    const pending = images[0]!.segment({ points: [[30, 20]] });
    for (const image of images) image.dispose();
    expect(await pending).toHaveLength(1);
    expect(images[0]!.coarse!.disposed).toBe(true);
    expect(await heldBytes()).toBe(before);
  });

  it('refuses a file whose two embeddings do not belong together', async () => {
    using image = await model.encode(picture(40, 30), { size: own + 64, coarseToFine: true });
    await model.saveEmbedding(image, file('good.safetensors'));
    const stored = await SafetensorsFile.open(file('good.safetensors'));
    const { shape } = stored.tensors.get('embedding')!;
    const data = await stored.read('embedding');
    const tensors = ['embedding', 'coarse'].map((name) => ({ name, dtype: 'F32' as const, shape, data }));
    await writeSafetensors(file('bad.safetensors'), tensors, { metadata: stored.metadata });
    await stored.close();
    const before = await heldBytes();
    expect((await errorOf(() => model.loadEmbedding(file('bad.safetensors')))).code).toBe('ERR_SHAPE');
    expect(await heldBytes()).toBe(before);
  });
});
