import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { pooled } from '../../lib/runtime/addon.js';
import { openCheckpoint, openWeights, randomWeights } from '../../lib/weights/checkpoint.js';
import { CONFIG_KEY, configToMetadata, type ModelConfig } from '../../lib/weights/config.js';
import { type ConvertOptions, convert } from '../../lib/weights/convert.js';
import { fromFloat32, toFloat32 } from '../../lib/weights/dtypes.js';
import { expectedTensors } from '../../lib/weights/expected.js';
import { presetConfig } from '../../lib/weights/presets.js';
import { initialTensor } from '../../lib/weights/random.js';
import { type TensorToWrite, writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { WeightStore } from '../../lib/weights/store.js';
import { device } from '../support/run.js';
import { encodeSafetensors } from '../support/safetensors.js';
import { rejection } from './support/expect.js';
import { Pickler } from './support/pickle_writer.js';
import { pickleStateDict, torchArchive } from './support/torch_writer.js';

/** `hrsam++-tiny` in the authors' keywords. */
const authors = {
  backbone: {
    type: 'HRSAMPlusPlusViT',
    downsample_sizes: [64],
    window_size: 8,
    state_dim: 16,
    depth: 4,
    embed_dim: 96,
    num_heads: 3,
    out_indices: [0, 1, 2, 3],
    final_embed_dim: 64,
  },
  neck: { embed_dim: 64, image_embed_size: [16, 16], input_image_size: [256, 256] },
  decode_head: { in_dim: 64, attn_cfg: { mlp_dim: 128 }, iou_head_hidden_dim: 64 },
  test_cfg: { target_size: 256 },
};

const config = presetConfig('hrsam++-tiny');

const tensorsOf = (model: ModelConfig): TensorToWrite[] =>
  expectedTensors(model).map(({ name, shape }) => ({
    name,
    dtype: 'F32',
    shape,
    data: initialTensor(name, shape),
  }));

/** A checkpoint as torch writes it, names prefixed. */
const torchCheckpoint = (model: ModelConfig, prefix: string, tensors = tensorsOf(model)): Uint8Array => {
  const storages = Object.fromEntries(
    tensors.map(({ data }, i) => [String(i), new Uint8Array((data as Float32Array).buffer)]),
  );
  const elements = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const pickled = tensors.map(({ name, shape }, i) => ({
    name: prefix + name,
    shape,
    storage: String(i),
    elements: elements(shape),
  }));
  const pickle = pickleStateDict(new Pickler().dict().mark().text('state_dict'), pickled).setItems().stop();
  return torchArchive(pickle, storages);
};

/** Compares bytes at once: element by element takes seconds on whole models. */
const same = (a: ArrayBufferView, b: ArrayBufferView): boolean =>
  Buffer.compare(
    Buffer.from(a.buffer, a.byteOffset, a.byteLength),
    Buffer.from(b.buffer, b.byteOffset, b.byteLength),
  ) === 0;

let folder: string;
const at = (name: string) => join(folder, name);
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'hrsam-checkpoint-'));
  await writeSafetensors(at('tiny.safetensors'), tensorsOf(config));
  await writeFile(at('tiny.pth'), torchCheckpoint(config, 'module.'));
});
afterAll(() => rm(folder, { recursive: true }));

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
    expect(weights).toMatchObject({ path: at(name), mappable: true });
    const file = await readFile(at(name));
    for (const { name: tensor, shape } of expectedTensors(config)) {
      const entry = weights.tensors.get(tensor)!;
      const expected = initialTensor(tensor, shape);
      expect(entry).toMatchObject({ name: tensor, dtype: 'F32', shape, byteLength: expected.byteLength });
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
    expect(weights.mappable).toBe(false);
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

describe('convert', () => {
  const sam = presetConfig('sam-tiny');
  const run = async (options: ConvertOptions, input = 'tiny.pth') => {
    const result = await convert(at(input), at('out.safetensors'), { config: authors, ...options });
    return { result, opened: await openWeights(at('out.safetensors')) };
  };

  it('makes a file that needs no options', async () => {
    const progress: number[] = [];
    const { result, opened } = await run({
      channelOrder: 'bgr',
      onProgress: ({ bytes }) => progress.push(bytes),
    });
    expect(result).toEqual({ config: opened.config, tensors: opened.tensors.size, dropped: [] });
    expect(opened.config).toEqual({ ...config, image: { ...config.image, channelOrder: 'bgr' } });
    expect(opened.mappable).toBe(true);
    for (const [name, entry] of opened.tensors) {
      expect(same(await entry.read(), initialTensor(name, entry.shape)), name).toBe(true);
    }
    expect(progress).toHaveLength(opened.tensors.size);
    expect(progress.at(-1)).toBe((await readFile(at('out.safetensors'))).length);
    await opened.close();
  });

  it.each([
    ['bf16', 'BF16'],
    ['f16', 'F16'],
  ] as const)('stores matrices as %s and leaves the rest precise', async (dtype, stored) => {
    const { opened } = await run({ dtype });
    const types = new Map<string, string>([...opened.tensors].map(([name, entry]) => [name, entry.dtype]));
    expect(types.get('backbone.blocks.0.attn.qkv.weight')).toBe(stored);
    expect(types.get('backbone.patch_embed.proj.weight')).toBe(stored);
    for (const name of [
      'backbone.blocks.0.attn.qkv.bias',
      'backbone.blocks.0.norm1.weight',
      'backbone.ss_mamba_blocks.0.As_log',
      'backbone.pos_embed',
      'neck.no_mask_embed.weight',
      'neck.point_embeds.0.weight',
      'decode_head.mask_tokens.weight',
    ]) {
      expect([name, types.get(name)]).toEqual([name, 'F32']);
    }
    const entry = opened.tensors.get('backbone.blocks.0.attn.qkv.weight')!;
    const exact = initialTensor(entry.name, entry.shape);
    const rounded = await entry.read();
    expect(same(rounded, toFloat32(stored, fromFloat32(exact, stored)))).toBe(true);
    expect(same(rounded, exact)).toBe(false);
    await opened.close();
    // and back to float32
    await convert(at('out.safetensors'), at('back.safetensors'), { dtype: 'f32' });
    await using back = await openWeights(at('back.safetensors'));
    expect([...back.tensors.values()].every((tensor) => tensor.dtype === 'F32')).toBe(true);
    expect(same(await back.tensors.get(entry.name)!.read(), rounded)).toBe(true);
  });

  it('keeps official names and notes, drops what the model does not know', async () => {
    const extra = { name: 'optimizer.step', dtype: 'I64', shape: [1], data: BigInt64Array.of(3n) } as const;
    await writeSafetensors(at('sam.safetensors'), [...tensorsOf(sam), extra], {
      metadata: [['license', 'Apache-2.0']],
    });
    const result = await convert(at('sam.safetensors'), at('sam.safetensors'));
    expect(result.dropped).toEqual(['optimizer.step']);
    await using opened = await openWeights(at('sam.safetensors'));
    expect(opened.metadata.get('license')).toBe('Apache-2.0');
    const official = [...opened.tensors.values()].map((entry) => entry.officialName);
    expect(official.sort()).toEqual(
      expectedTensors(sam)
        .map(({ name }) => name)
        .sort(),
    );
  });

  it('writes the mean of two weights, which the types round once', async () => {
    const shifted = tensorsOf(sam).map((tensor) => ({
      ...tensor,
      data: (tensor.data as Float32Array).map((value, i) => value + (i % 3)),
    }));
    await writeSafetensors(at('one.safetensors'), tensorsOf(sam));
    await writeSafetensors(at('two.safetensors'), shifted);
    await convert(at('one.safetensors'), at('mean.safetensors'), { average: at('two.safetensors') });
    await using mean = await openWeights(at('mean.safetensors'));
    for (const { name, shape, data } of shifted) {
      const values = initialTensor(name, shape).map((value, i) => (value + (data as Float32Array)[i]!) / 2);
      const [entry] = [...mean.tensors.values()].filter(({ officialName }) => officialName === name);
      expect(same(await entry!.read(), values)).toBe(true);
    }
    const bf16 = { average: at('two.safetensors'), dtype: 'bf16' } as const;
    await convert(at('one.safetensors'), at('rounded.safetensors'), bf16);
    await convert(at('mean.safetensors'), at('once.safetensors'), { dtype: 'bf16' });
    const [rounded, once] = await Promise.all(
      ['rounded', 'once'].map((name) => readFile(at(`${name}.safetensors`))),
    );
    expect(rounded!.equals(once!)).toBe(true);
  });

  it.each([
    ['of another family', config, 'family "hrsam"'],
    [
      'that differs in what no tensor tells',
      { ...sam, decoder: { ...sam.decoder, refinements: 2 } },
      'got [decoder.refinements 2]',
    ],
  ] as const)('refuses the mean with a model %s', async (_, other, message) => {
    const average = at('other.safetensors');
    await writeSafetensors(at('one.safetensors'), tensorsOf(sam));
    await writeSafetensors(average, tensorsOf(other), { metadata: [configToMetadata(other)] });
    const error = await rejection(convert(at('one.safetensors'), at('no.safetensors'), { average }));
    expect(error.code).toBe('ERR_WEIGHTS');
    expect(error.message).toContain('other.safetensors: no mean of models with different settings');
    expect(error.message).toContain(message);
    expect((await rejection(openCheckpoint(at('no.safetensors')))).code).toBe('ERR_FILE');
  });

  it.each([
    [{ channelOrder: 'xyz' }, 'channelOrder'],
    [{ average: 3 }, 'average'],
    [{ dtype: 'f8' }, 'dtype'],
  ])('refuses %j', async (options, message) => {
    const error = await rejection(
      convert(at('tiny.pth'), at('never.safetensors'), options as ConvertOptions),
    );
    expect([error.code, error.message]).toEqual(['ERR_ARGUMENT', expect.stringContaining(message)]);
  });

  it('refuses values that are not finite, and says where', async () => {
    const tensors = tensorsOf(sam);
    const { name } = tensors[3]!;
    (tensors[3]!.data as Float32Array)[2] = Number.NaN;
    await writeSafetensors(at('nan.safetensors'), tensors);
    const error = await rejection(convert(at('nan.safetensors'), at('never.safetensors')));
    expect([error.code, error.message]).toEqual([
      'ERR_WEIGHTS',
      expect.stringMatching(/nan\.safetensors: .*; expected finite values; got NaN at 2$/),
    ]);
    expect(error.message).toContain(name);
  });

  it('leaves no output when the input is wrong', async () => {
    await rejection(convert(at('tiny.pth'), at('never.safetensors')));
    expect((await rejection(openCheckpoint(at('never.safetensors')))).code).toBe('ERR_FILE');
  });
});
