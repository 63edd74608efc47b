import { readFile, rm, writeFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { EmbeddingStore } from '../../lib/predictor/embedding_store.js';
import type { HRSAM } from '../../lib/predictor/hrsam.js';
import { openModel } from '../../lib/predictor/load.js';
import { expectedTensors } from '../../lib/weights/expected.js';
import { codeOf, errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { download } from '../support/run.js';
import { picture, randomModel } from './support/models.js';

describe('EmbeddingStore', () => {
  const file = scratch('hrsam-');
  let model: HRSAM;

  const create = async (folder: string, weights = 'random:hrsam-tiny', size = 64) => {
    await using checkpoint = await openModel(weights);
    return EmbeddingStore.create(file(folder), checkpoint, size);
  };

  const add = async (store: EmbeddingStore, name: string) => {
    using image = await model.encode(picture(40, 30), { size: 64 });
    await store.add(name, image);
    return download(image.embedding);
  };

  beforeAll(async () => {
    model = await randomModel('hrsam-tiny');
  });

  it('gives back what was added, and the decoder that belongs to it', async () => {
    const embedding = await add(await create('a'), 'deep/er/photo.jpg');
    const store = await EmbeddingStore.open(file('a'));
    expect(store.config).toEqual(model.config);
    expect(await store.has('deep/er/photo.jpg')).toBe(true);
    expect(await store.has('photo.jpg')).toBe(false);
    const read = await store.read('deep/er/photo.jpg', model.device);
    expect(await download(read.embedding)).toEqual(embedding);
    read.embedding.dispose();
    expect(read.sizes?.original).toEqual({ height: 40, width: 30 });
    await using weights = await openModel('random:hrsam-tiny');
    const decoder = await store.decoder();
    expect(decoder.size).toBe(expectedTensors(store.config, ['prompt', 'decoder']).length);
    for (const [name, values] of decoder) expect(values).toEqual(await weights.tensors.get(name)!.read());
  });

  it('is nothing on the disk before something is added', async () => {
    await create('later');
    expect(await codeOf(() => EmbeddingStore.open(file('later')))).toBe('ERR_FILE');
  });

  it.each<[string, string, number, string]>([
    ['another model', 'random:hrsam++-tiny', 64, 'of another model'],
    ['another size', 'random:hrsam-tiny', 128, 'of another size'],
  ])('refuses to be filled by %s', async (_, weights, size, text) => {
    const folder = `mixed ${size}`;
    await add(await create(folder), 'x');
    expect((await errorOf(() => create(folder, weights, size))).message).toContain(text);
    await create(folder);
  });

  it('does not take a damaged embedding for one', async () => {
    const store = await create('damaged');
    await add(store, 'x');
    const path = file('damaged/x.safetensors');
    const bytes = await readFile(path);
    for (const content of [bytes.subarray(0, -1), bytes.subarray(0, 20), Buffer.alloc(0)]) {
      await writeFile(path, content);
      expect(await store.has('x')).toBe(false);
      expect(await codeOf(() => store.read('x', model.device))).toBe('ERR_WEIGHTS');
    }
    await rm(path);
    expect(await codeOf(() => store.read('x', model.device))).toBe('ERR_FILE');
    using large = await model.encode(picture(40, 30), { size: 128 });
    await model.saveEmbedding(large, path);
    expect(await store.has('x')).toBe(false);
    expect(await codeOf(() => store.read('x', model.device))).toBe('ERR_SHAPE');
  });

  it('keeps to its folder', async () => {
    const store = await create('inside');
    expect(await codeOf(() => add(store, '../outside'))).toBe('ERR_FILE');
    expect(await codeOf(() => store.has('/outside'))).toBe('ERR_FILE');
    expect(await codeOf(() => add(store, 'decoder'))).toBe('ERR_FILE');
  });

  it('refuses weights that are no decoder of embeddings', async () => {
    const store = await create('foreign');
    await add(store, 'x');
    await writeFile(file('foreign/decoder.safetensors'), await readFile(file('foreign/x.safetensors')));
    expect(await codeOf(() => EmbeddingStore.open(file('foreign')))).toMatch(/^ERR_(WEIGHTS|CONFIG)$/);
  });
});
