import { existsSync } from 'node:fs';
import { readdir, readFile, writeFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { randomWeights } from '../../lib/weights/checkpoint.js';
import { configToMetadata } from '../../lib/weights/config.js';
import { convert } from '../../lib/weights/convert.js';
import { SafetensorsFile } from '../../lib/weights/safetensors.js';
import { writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { channelsFirst } from '../support/layout.js';
import { heldBytes } from '../support/memory.js';
import { device, download, host } from '../support/run.js';
import { contents, picture, randomModel } from './support/models.js';

const SIZES = {
  original: { height: 30, width: 50 },
  resized: { height: 154, width: 256 },
  input: { height: 256, width: 256 },
};

describe('saved embeddings', () => {
  const file = scratch('hrsam-');
  let model: HRSAM;
  beforeAll(async () => {
    model = await randomModel('hrsam-tiny');
  });

  it.each(['hrsam-tiny', 'hrsam++-tiny', 'sam-tiny'])('come back: %s', async (preset) => {
    const own = await randomModel(preset);
    using image = await own.encode(picture(90, 150));
    const path = file(`${preset}.safetensors`);
    await own.saveEmbedding(image, path);
    using restored = await own.loadEmbedding(path);
    expect(restored.original).toEqual(image.original);
    expect(restored.resized).toEqual(image.resized);
    expect(restored.input).toEqual(image.input);
    expect((await download(restored.embedding)).data).toEqual((await download(image.embedding)).data);
    const request = { points: [[70, 40]], box: [20, 10, 120, 80], multimask: true } as const;
    const [before, after] = [await image.segment(request), await restored.segment(request)];
    expect(after.map(contents)).toEqual(before.map(contents));
  });

  it('are those of the weights that made them, in any precision', async () => {
    const [plain, rounded] = [file('plain.safetensors'), file('rounded.safetensors')];
    await using random = await randomWeights('hrsam-tiny');
    const tensors = [...random.tensors.values()].map(({ officialName, shape, read }) => ({
      name: officialName,
      dtype: 'F32' as const,
      shape,
      data: read,
    }));
    await writeSafetensors(plain, tensors, { metadata: [configToMetadata(random.config)] });
    await convert(plain, rounded, { dtype: 'bf16' });
    const other = file('other.safetensors');
    const changed = tensors.map((tensor) => {
      if (tensor.name.endsWith('rope.freqs')) return tensor; // follows from the settings
      const data = async () => (await tensor.data()).map((value) => value + 1);
      return { ...tensor, data };
    });
    await writeSafetensors(other, changed, { metadata: [configToMetadata(random.config)] });
    using image = await model.encode(picture(40, 30), { size: 64 });
    const path = file('own.safetensors');
    await model.saveEmbedding(image, path);
    for (const weights of [plain, rounded]) {
      using same = await HRSAM.load(weights, { device });
      using restored = await same.loadEmbedding(path);
      await model.saveEmbedding(restored, file('again.safetensors'));
    }
    using different = await HRSAM.load(other, { device });
    const before = await heldBytes();
    const error = await errorOf(() => different.loadEmbedding(path));
    expect([error.code, error.where]).toEqual(['ERR_WEIGHTS', path]);
    expect(await heldBytes()).toBe(before);
    const refused = await errorOf(() => different.saveEmbedding(image, file('signed.safetensors')));
    expect([refused.code, refused.message]).toEqual([
      'ERR_ARGUMENT',
      expect.stringMatching(/an image of another model/),
    ]);
    expect(existsSync(file('signed.safetensors'))).toBe(false);
  });

  it('lie in the file as the official code has them', async () => {
    using image = await model.encode(picture(40, 30), { size: 64 });
    await model.saveEmbedding(image, file('official.safetensors'));
    const stored = await SafetensorsFile.open(file('official.safetensors'));
    const data = (await stored.read('embedding')) as Float32Array;
    expect([...stored.tensors.keys()]).toEqual(['embedding']);
    expect(host(stored.tensors.get('embedding')!.shape, data)).toEqual(
      channelsFirst(await download(image.embedding)),
    );
    await stored.close();
  });

  interface Content {
    name?: string;
    dtype?: 'F32' | 'F16';
    shape?: number[];
    sizes?: unknown;
  }

  async function write({
    name = 'embedding',
    dtype = 'F32',
    shape = [1, 64, 16, 16],
    sizes = SIZES,
  }: Content) {
    const path = file('bad.safetensors');
    const data = new Uint8Array(shape.reduce((a, b) => a * b) * (dtype === 'F32' ? 4 : 2));
    const text = typeof sizes === 'string' ? sizes : JSON.stringify(sizes);
    const metadata: [string, string][] = sizes === null ? [] : [['hrsam.picture', text]];
    await writeSafetensors(path, [{ name, dtype, shape, data }], { metadata });
    return path;
  }

  it('are accepted as written here', async () => {
    using image = await model.loadEmbedding(await write({}));
    expect(await image.segment({ points: [[50, 30]] })).toHaveLength(1);
  });

  const square = (side: unknown) => ({ height: side, width: side });
  it.each<[string, Content, code: string]>([
    ['another name', { name: 'image' }, 'ERR_WEIGHTS'],
    ['another type', { dtype: 'F16' }, 'ERR_WEIGHTS'],
    ['three axes', { shape: [64, 16, 16] }, 'ERR_WEIGHTS'],
    ['an axis of nothing', { shape: [0, 64, 16, 16] }, 'ERR_WEIGHTS'],
    ['a batch', { shape: [2, 64, 16, 16] }, 'ERR_SHAPE'],
    ['other channels', { shape: [1, 32, 16, 16] }, 'ERR_SHAPE'],
    ['another grid than that of the input', { shape: [1, 64, 8, 16] }, 'ERR_SHAPE'],
    ['no sizes', { sizes: null }, 'ERR_SHAPE'],
    ['sizes that are no JSON', { sizes: '{' }, 'ERR_WEIGHTS'],
    ['sizes of null', { sizes: 'null' }, 'ERR_WEIGHTS'],
    ['a missing size', { sizes: { ...SIZES, original: undefined } }, 'ERR_WEIGHTS'],
    ['a size of nothing', { sizes: { ...SIZES, original: square(0) } }, 'ERR_WEIGHTS'],
    ['a negative size', { sizes: { ...SIZES, resized: square(-4) } }, 'ERR_WEIGHTS'],
    ['text for a size', { sizes: { ...SIZES, original: square('30') } }, 'ERR_WEIGHTS'],
    ['part of a pixel', { sizes: { ...SIZES, original: square(30.5) } }, 'ERR_WEIGHTS'],
    ['a picture beyond all memory', { sizes: { ...SIZES, original: square(2 ** 20) } }, 'ERR_WEIGHTS'],
    ['more picture than input', { sizes: { ...SIZES, resized: square(257) } }, 'ERR_WEIGHTS'],
    ['less picture than resizing leaves', { sizes: { ...SIZES, resized: square(1) } }, 'ERR_WEIGHTS'],
    [
      'an input that is no square',
      { shape: [1, 64, 16, 20], sizes: { ...SIZES, input: { height: 256, width: 320 } } },
      'ERR_WEIGHTS',
    ],
    [
      'an input that is no grid',
      { sizes: { ...SIZES, resized: { height: 156, width: 260 }, input: square(260) } },
      'ERR_SHAPE',
    ],
  ])('%s', async (_, content, code) => {
    const path = await write(content);
    const before = await heldBytes();
    const error = await errorOf(() => model.loadEmbedding(path));
    expect(error.code).toBe(code);
    expect(error.message).toContain(path);
    expect(await heldBytes()).toBe(before);
  });

  it.each([
    ['cut short', (bytes: Buffer) => bytes.subarray(0, -1)],
    ['longer than it says', (bytes: Buffer) => Buffer.concat([bytes, Buffer.of(0)])],
    ['empty', () => Buffer.alloc(0)],
  ])('a file that is %s', async (_, damage) => {
    const path = file('damaged.safetensors');
    await writeFile(path, damage(await readFile(await write({}))));
    expect((await errorOf(() => model.loadEmbedding(path))).code).toBe('ERR_WEIGHTS');
  });

  it('paths and pictures that are none', async () => {
    using image = await model.encode(picture(8, 8), { size: 16 });
    const before = await readdir('.');
    for (const path of [undefined, null, 5, new URL('file:///e.safetensors')] as unknown as string[]) {
      expect((await errorOf(() => model.saveEmbedding(image, path))).code).toBe('ERR_ARGUMENT');
      expect((await errorOf(() => model.loadEmbedding(path))).code).toBe('ERR_ARGUMENT');
    }
    const none = null as unknown as typeof image;
    expect((await errorOf(() => model.saveEmbedding(none, file('e')))).code).toBe('ERR_ARGUMENT');
    expect(await readdir('.')).toEqual(before);
  });

  it('files that are not there, or cannot be written', async () => {
    expect((await errorOf(() => model.loadEmbedding(file('none')))).code).toBe('ERR_FILE');
    using image = await model.encode(picture(8, 8), { size: 16 });
    const path = file('no/such/folder.safetensors');
    expect((await errorOf(() => model.saveEmbedding(image, path))).code).toBe('ERR_FILE');
    const saved = model.saveEmbedding(image, file('late.safetensors'));
    image.dispose();
    await saved;
    (await model.loadEmbedding(file('late.safetensors'))).dispose();
    expect((await errorOf(() => model.saveEmbedding(image, file('e.safetensors')))).code).toBe(
      'ERR_DISPOSED',
    );
  });
});
