import { readFile, writeFile } from 'node:fs/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import { openCheckpoint, openWeights } from '../../lib/weights/checkpoint.js';
import { configToMetadata } from '../../lib/weights/config.js';
import { type ConvertOptions, convert } from '../../lib/weights/convert.js';
import { fromFloat32, toFloat32 } from '../../lib/weights/dtypes.js';
import { expectedTensors } from '../../lib/weights/expected.js';
import { presetConfig } from '../../lib/weights/presets.js';
import { initialTensor } from '../../lib/weights/random.js';
import { writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { scratch } from '../support/files.js';
import { rejection } from './support/expect.js';
import { authors, config, same, tensorsOf, torchCheckpoint } from './support/tiny.js';

const at = scratch('hrsam-convert-');
beforeAll(() => writeFile(at('tiny.pth'), torchCheckpoint(config, 'module.')));

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
    for (const [name, entry] of opened.tensors) {
      expect(entry.offset! % 4, name).toBe(0);
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
