import { cpSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { beforeAll, describe, expect, it } from 'vitest';
import { listPictures } from '../../lib/data/pictures.js';
import { EmbeddingStore } from '../../lib/predictor/embedding_store.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { openModel } from '../../lib/predictor/load.js';
import { readRecipe } from '../../lib/train/recipe.js';
import { TaughtPictures } from '../../lib/train/taught_pictures.js';
import { beginTraining, resumeTraining, type TrainingOptions } from '../../lib/train/training.js';
import { openCheckpoint } from '../../lib/weights/checkpoint.js';
import { codeOf, errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { heldBytes } from '../support/memory.js';
import { tinyDistillation } from '../support/recipes.js';
import { device } from '../support/run.js';
import { discSet } from '../support/sets.js';

const at = scratch('hrsam-distill-');

const recipe = (change: object = {}) =>
  readRecipe({ ...tinyDistillation, dropPath: 0.5, recompute: true, ...change });

const options = (name: string, change: Partial<TrainingOptions> = {}): TrainingOptions => ({
  task: 'distill',
  data: [at('discs')],
  teacher: [at('taught')],
  out: at(name),
  every: 1e9,
  ...change,
});

/** What `hrsam embed` does. */
async function teach(weights: string, data: string, folder: string, size: number): Promise<void> {
  await using checkpoint = await openModel(weights);
  const store = await EmbeddingStore.create(folder, checkpoint, size);
  using model = await HRSAM.load(weights, { device });
  for (const { name, path } of await listPictures(data)) {
    using image = await model.encode(path, { size });
    await store.add(name, image);
  }
}

const read = async (path: string) => {
  await using file = await openCheckpoint(path);
  return new Map(
    await Promise.all([...file.tensors].map(async ([name, entry]) => [name, await entry.read()] as const)),
  );
};

beforeAll(async () => {
  await discSet(
    at('discs'),
    [220, 60, 40],
    [40, 90, 200],
    [
      [64, 64],
      [80, 60],
      [60, 80],
      [128, 100],
      [50, 50],
    ],
  );
  await teach('random:hrsam-tiny', at('discs'), at('taught'), 64);
  await beginTraining(device, recipe(), options('whole'));
}, 60_000);

describe('a distillation', () => {
  it('changes the encoder and takes the rest from the teacher', async () => {
    const model = await read(at('whole', 'model.safetensors'));
    const decoder = await (await EmbeddingStore.open(at('taught'))).decoder();
    for (const [name, values] of decoder) expect(model.get(name)).toEqual(values);
    using student = await HRSAM.load(at('whole', 'model.safetensors'), { device });
    const { config } = await EmbeddingStore.open(at('taught'));
    expect(student.config).toMatchObject({
      prompt: config.prompt,
      decoder: config.decoder,
      encoder: { depth: 2 },
    });
  });

  it('goes on to the byte as if it had never stopped', async () => {
    const controller = new AbortController();
    const onStep = ({ step }: { step: number }) => step === 3 && controller.abort();
    await beginTraining(device, recipe(), options('parts', { signal: controller.signal, onStep }));
    await resumeTraining(device, options('parts'));
    for (const file of ['checkpoint.safetensors', 'model.safetensors'])
      expect(readFileSync(at('parts', file)).equals(readFileSync(at('whole', file)))).toBe(true);
  });

  it('does not go on with another teacher', async () => {
    await beginTraining(device, recipe(), options('taught-twice', { signal: AbortSignal.abort() }));
    await teach(at('whole', 'model.safetensors'), at('discs'), at('other-teacher'), 64);
    const resumed = () => resumeTraining(device, options('taught-twice', { teacher: [at('other-teacher')] }));
    const { code, message } = await errorOf(resumed);
    expect([code, message]).toEqual(['ERR_CONFIG', expect.stringMatching(/teacher .*discs: 5 .*teacher /)]);
    const [expected, actual] = [...message.matchAll(/teacher (\w{64})/g)].map(([, weights]) => weights);
    expect(actual).not.toBe(expected);
  });

  it('learns from Segment Anything', async () => {
    const model = {
      ...tinyDistillation.model,
      backbone: { ...tinyDistillation.model.backbone, final_embed_dim: 256 },
    };
    await teach('random:sam-tiny', at('discs'), at('sam'), 224);
    await beginTraining(
      device,
      recipe({ model, size: 224, steps: 2, batch: 1 }),
      options('of-sam', { teacher: [at('sam')] }),
    );
    const made = await read(at('of-sam', 'model.safetensors'));
    const sam = await read(at('sam', 'decoder.safetensors'));
    expect(sam.size).toBeGreaterThan(100);
    for (const [name, values] of sam) expect(made.get(name)).toEqual(values);
    using student = await HRSAM.load(at('of-sam', 'model.safetensors'), { device });
    using image = await student.encode(at('discs', 'images', '0.png'), { size: 224 });
    expect(await image.segment({ points: [[32, 32]] })).toHaveLength(1);
  });

  it('says how many pictures nobody embedded', async () => {
    cpSync(at('taught'), at('begun'), { recursive: true });
    for (const i of [1, 3]) rmSync(at('begun', 'images', `${i}.png.safetensors`));
    const notes: string[] = [];
    const given = {
      teacher: [at('begun')],
      signal: AbortSignal.abort(),
      onNote: (note: string) => notes.push(note),
    };
    await beginTraining(device, recipe(), options('of-three', given));
    expect(notes).toEqual([
      `2 of 5 pictures of ${at('discs')} have no embedding in ${at('begun')}: hrsam embed goes on`,
    ]);
  });

  it.each<[string, object, Partial<TrainingOptions>, string, string]>([
    ['no teacher', {}, { teacher: undefined }, 'ERR_ARGUMENT', 'one for each folder of pictures'],
    ['fewer teachers than sets', {}, { data: [at('discs'), at('discs')] }, 'ERR_ARGUMENT', '1 for 2'],
    ['no embeddings', {}, { teacher: [at('discs')] }, 'ERR_FILE', 'one that hrsam embed <folder> filled'],
    ['another size than the teacher’s', { size: 128 }, {}, 'ERR_CONFIG', 'size; expected 64; got 128'],
    [
      'another width than the teacher’s',
      { model: { backbone: { ...tinyDistillation.model.backbone, final_embed_dim: 32 } } },
      {},
      'ERR_CONFIG',
      'final_embed_dim',
    ],
    ['pictures that nobody embedded', {}, { data: [at('other')] }, 'ERR_FILE', 'no embedding of a picture'],
    ['another task', { task: 'finetune' }, {}, 'ERR_CONFIG', 'task; expected distill; got finetune'],
  ])('%s: an error, nothing held', async (_, change, given, code, text) => {
    await discSet(at('other', 'below'), [1, 2, 3], [3, 2, 1], [[64, 64]]);
    const before = await heldBytes();
    const error = await errorOf(() => beginTraining(device, recipe(change), options('refused', given)));
    expect([error.code, error.message]).toEqual([code, expect.stringContaining(text)]);
    expect(await heldBytes()).toBe(before);
  });
});

describe('TaughtPictures', () => {
  const open = async (data: string, teacher: string, onCorrupt?: (error: Error) => void) => {
    const { image } = recipe().model;
    const store = await EmbeddingStore.open(at(teacher));
    return TaughtPictures.open(device, [[at(data), store]], { size: 64, seed: 4, image, onCorrupt });
  };

  it('shows each picture once before any again, in an order that follows from the seed', async () => {
    const [pictures, again] = [await open('discs', 'taught'), await open('discs', 'taught')];
    const targets: number[] = [];
    for (let i = 0; i < 15; i++) targets.push((await pictures.sample(i)).target[0]!);
    for (const epoch of [0, 5, 10]) expect(new Set(targets.slice(epoch, epoch + 5)).size).toBe(5);
    expect(targets.slice(0, 5)).not.toEqual(targets.slice(5, 10));
    for (const i of [12, 3, 7]) expect((await again.sample(i)).target[0]).toBe(targets[i]);
  });

  it('prepares pictures as the student will see them', async () => {
    using student = await HRSAM.load(at('whole', 'model.safetensors'), { device });
    const pictures = await open('discs', 'taught');
    const { image } = await pictures.sample(0);
    expect(image.length).toBe(3 * 64 * 64);
    const { mean, std } = student.config.image;
    // The corner is background, which is blue.
    [40, 90, 200].forEach((value, c) => {
      expect(image[c * 64 * 64]).toBeCloseTo((value - mean[c]!) / std[c]!, 5);
    });
  });

  it('leaves out pictures and embeddings that are damaged or do not belong together, each once', async () => {
    for (const folder of ['discs', 'taught']) cpSync(at(folder), at('bad', folder), { recursive: true });
    writeFileSync(at('bad', 'discs', 'images', '0.png'), 'no picture');
    cpSync(at('discs', 'images', '4.png'), at('bad', 'discs', 'images', '1.png'));
    const damaged = at('bad', 'taught', 'images', '2.png.safetensors');
    const stored = readFileSync(damaged);
    stored.write('9', stored.indexOf('embedding'));
    writeFileSync(damaged, stored);
    const errors: string[] = [];
    const pictures = await open('bad/discs', 'bad/taught', ({ message }) => errors.push(message));
    const seen = new Set<number>();
    for (let i = 0; i < 10; i++) seen.add((await pictures.sample(i)).target[0]!);
    expect(seen.size).toBe(2);
    expect(errors.sort()).toEqual([
      expect.stringContaining('0.png: not a readable picture'),
      expect.stringContaining('1.png: not the picture that was embedded; expected 80 x 60; got 50 x 50'),
      expect.stringMatching(/taught.*2\.png\.safetensors: is no whole embedding; expected .* hrsam embed/),
    ]);
    const before = await heldBytes();
    writeFileSync(at('bad', 'discs', 'images', '3.png'), '');
    writeFileSync(at('bad', 'discs', 'images', '4.png'), '');
    const hopeless = await open('bad/discs', 'bad/taught');
    expect(await codeOf(() => hopeless.sample(0))).toBe('ERR_FILE');
    expect(await heldBytes()).toBe(before);
  });
});
