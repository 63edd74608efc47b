import { readFile, writeFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { pooled } from '../../lib/runtime/addon.js';
import { openCheckpoint, openWeights, randomWeights } from '../../lib/weights/checkpoint.js';
import { CONFIG_KEY, configToMetadata } from '../../lib/weights/config.js';
import { fromFloat32 } from '../../lib/weights/dtypes.js';
import { expectedTensors } from '../../lib/weights/expected.js';
import { presetConfig } from '../../lib/weights/presets.js';
import { initialTensor } from '../../lib/weights/random.js';
import { writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { WeightStore } from '../../lib/weights/store.js';
import { scratch } from '../support/files.js';
import { device } from '../support/run.js';
import { encodeSafetensors } from '../support/safetensors.js';
import { rejection } from './support/expect.js';
import { authors, config, same, tensorsOf, torchCheckpoint } from './support/tiny.js';

const at = scratch('hrsam-checkpoint-');
beforeAll(async () => {
  await writeSafetensors(at('tiny.safetensors'), tensorsOf(config));
  await writeFile(at('tiny.pth'), torchCheckpoint(config, 'module.'));
});

describe('openWeights', () => {
  it('refuses rotary frequencies of another base', async () => {
    const name = 'backbone.rope.freqs';
    const tensors = tensorsOf(config).map((tensor) =>
      tensor.name === name
        ? {
            ...tensor,
            data: initialTensor(name, tensor.shape).map((_, k, { length }) => 100 ** (-k / length)),
          }
        : tensor,
    );
    const error = await rejection(openWeights(await encodeSafetensors(tensors), { config: authors }));
    expect(error.code).toBe('ERR_CONFIG');
    expect(error.message).toContain(`${name}[1]: rotary frequencies of another base than 10000`);
  });

  it.each(['tiny.safetensors', 'tiny.pth'])('opens %s with the settings of its authors', async (name) => {
    await using weights = await openWeights(at(name), { config: authors });
    expect(weights.config).toEqual(config);
    expect(weights.unexpected).toEqual([]);
    expect(weights.path).toBe(at(name));
    const file = await readFile(at(name));
    for (const { name: tensor, shape } of expectedTensors(config)) {
      const entry = weights.tensors.get(tensor)!;
      const expected = initialTensor(tensor, shape);
      expect(entry).toMatchObject({ name: tensor, dtype: 'F32', shape, byteLength: expected.byteLength });
      expect(entry.offset! % 4).toBe(0);
      expect(same(await entry.read(), expected), tensor).toBe(true);
      const { offset, byteLength } = entry;
      expect(same(file.subarray(offset!, offset! + byteLength), expected), tensor).toBe(true);
    }
  });

  it('infers the configuration of a published size', async () => {
    const published = presetConfig('sam-vit-b');
    const empty = new Map(expectedTensors(published).map(({ name, shape }) => [name, shape]));
    const header = await encodeSafetensors(
      [...empty].map(([name, shape]) => ({
        name,
        dtype: 'U8',
        shape: [0, ...shape],
        data: new Uint8Array(0),
      })),
    );
    // shapes of another rank: inference must say so, not guess
    expect((await rejection(openWeights(header))).message).toMatch(/has 5 dimensions, not 4/);
    const sam = presetConfig('sam-tiny');
    await using weights = await openWeights(await encodeSafetensors(tensorsOf(sam)));
    expect(weights.config).toEqual(sam);
    expect(weights.tensors.has('neck.pos_embed_layer.positional_encoding_gaussian_matrix')).toBe(true);
  });

  it('asks for a configuration where the tensors do not tell', async () => {
    const error = await rejection(openWeights(at('tiny.pth')));
    expect(error).toMatchObject({ code: 'ERR_CONFIG', where: at('tiny.pth') });
    expect(error.message).toContain(
      'do not tell backbone.num_heads, backbone.window_size, backbone.out_indices, backbone.downsample_sizes, decode_head.attn_cfg.num_heads: pass a configuration (config, --config)',
    );
  });

  it('prefers the given settings to those of the file', async () => {
    const swin = { ...config, encoder: { ...config.encoder, attention: Array(4).fill('swin') } };
    const bytes = await encodeSafetensors(tensorsOf(config), { metadata: [configToMetadata(config)] });
    await using weights = await openWeights(bytes, { config: swin });
    expect(weights.config).toEqual(swin);
    await using stored = await openWeights(bytes);
    expect(stored.config).toEqual(config);
  });

  it('refuses tensors that do not fit', async () => {
    const error = await rejection(
      openWeights(at('tiny.safetensors'), {
        config: { ...authors, neck: { ...authors.neck, mask_in_dim: 8 } },
      }),
    );
    expect(error).toMatchObject({ code: 'ERR_CONFIG', where: at('tiny.safetensors') });
    expect(error.message).toMatch(/neck\.mask_downscaling\.0\.weight is \[4,1,2,2\], not \[2,1,2,2\]/);
  });

  it('refuses a broken configuration in the file', async () => {
    const bytes = await encodeSafetensors(tensorsOf(config), {
      metadata: [[CONFIG_KEY, '{"family":"hrsam"}']],
    });
    expect((await rejection(openWeights(bytes))).code).toBe('ERR_CONFIG');
  });

  it('closes the file, also after an error', async () => {
    const { readdir } = await import('node:fs/promises');
    const open = async () => (await readdir('/proc/self/fd').catch(() => [])).length;
    const before = await open();
    for (let i = 0; i < 10; i++) {
      await rejection(openWeights(at('tiny.pth')));
      await (await openCheckpoint(at('tiny.pth'))).close();
    }
    expect(await open()).toBe(before);
    const closed = await openCheckpoint(at('tiny.safetensors'));
    await closed.close();
    expect((await rejection(closed.tensors.values().next().value!.read())).code).toBe('ERR_FILE');
  });
});

describe('WeightStore', () => {
  const load = async (name: string) => {
    await using checkpoint = await openWeights(at(name), { config: authors });
    (await WeightStore.open(device, checkpoint)).dispose();
  };
  const name = 'backbone.patch_embed.proj.bias';

  it.each([
    ['F32', 0],
    ['F32', 5000],
    ['F64', 7],
    ['F16', 3],
    ['BF16', 95],
  ] as const)('refuses what is not finite, %s, value %i', async (dtype, index) => {
    const tensors = tensorsOf(config).map((tensor) => {
      if (tensor.name !== name && tensor.name !== 'backbone.patch_embed.proj.weight') return tensor;
      const { shape } = tensor;
      const wrong = index >= 96 === (tensor.name !== name);
      const values = initialTensor(tensor.name, shape);
      if (wrong) values[index] = Infinity;
      return {
        ...tensor,
        dtype,
        data: dtype === 'F64' ? Float64Array.from(values) : fromFloat32(values, dtype),
      };
    });
    await writeSafetensors(at('infinite.safetensors'), tensors);
    const error = await rejection(load('infinite.safetensors'));
    const tensor = index >= 96 ? 'backbone.patch_embed.proj.weight' : name;
    expect([error.code, error.message]).toEqual([
      'ERR_WEIGHTS',
      `${at('infinite.safetensors')}: tensor ${tensor}: a value that no model computes with; expected finite values; got Infinity at ${index}`,
    ]);
  });

  it('and in a file of PyTorch', async () => {
    const tensors = tensorsOf(config);
    (tensors.find((tensor) => tensor.name === name)!.data as Float32Array)[2] = Number.NaN;
    await writeFile(at('nan.pth'), torchCheckpoint(config, 'module.', tensors));
    const error = await rejection(load('nan.pth'));
    expect([error.code, error.message]).toEqual([
      'ERR_WEIGHTS',
      expect.stringMatching(`tensor module.${name}: .* got NaN at 2$`),
    ]);
  });

  it.each([
    [0, 1e9],
    [2 ** 40, 1],
    [2 ** 53, 2 ** 53],
  ])('looks at no value beyond the file: from %d, %d', async (offset, count) => {
    const buffer = device.mapFile(at('tiny.safetensors'));
    expect((await rejection(pooled(() => buffer.allFinite(offset, count)))).code).toBe('ERR_WEIGHTS');
  });

  it('takes finite ones, however they are stored', async () => {
    for (const file of ['tiny.safetensors', 'tiny.pth']) await load(file);
  });

  it('maps a file no longer than it is used', async () => {
    const { readFile } = await import('node:fs/promises');
    const mapped = async () => {
      const maps = await readFile('/proc/self/maps', 'utf8').catch(() => '');
      return maps.split('\n').filter((line) => line.endsWith(at('long.safetensors'))).length;
    };
    await writeSafetensors(at('long.safetensors'), tensorsOf(config));
    for (let i = 0; i < 3; i++) await load('long.safetensors');
    expect(await mapped()).toBe(0);
  });
});

describe('randomWeights', () => {
  it('makes the tensors of a preset, one by one, the same every time', async () => {
    await using weights = await randomWeights('hrsam-tiny');
    expect(weights.config).toEqual(presetConfig('hrsam-tiny'));
    expect(weights.tensors.size).toBe(expectedTensors(weights.config).length);
    const entry = weights.tensors.get('backbone.patch_embed.proj.bias')!;
    expect(await entry.read()).toEqual(initialTensor('backbone.patch_embed.proj.bias', [96]));
    const other = await randomWeights('hrsam-tiny', 7);
    expect(await other.tensors.get(entry.name)!.read()).not.toEqual(await entry.read());
  });

  it("takes SAM's tensors under the model's names", async () => {
    const weights = await randomWeights('sam-tiny');
    expect(weights.tensors.get('decode_head.iou_token.weight')!.officialName).toBe(
      'mask_decoder.iou_token.weight',
    );
  });

  it('says which presets there are', async () => {
    expect((await rejection(randomWeights('hrsam-xxl'))).message).toMatch(/hrsam-b, /);
  });
});
