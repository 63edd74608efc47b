import { describe, expect, it } from 'vitest';
import { BF16_MODEL, expectClose, expectWithin } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { channelsFirst, item, reshaped } from '../support/layout.js';
import { encode, samModel } from '../support/models.js';
import { fixtures, generate, HostTensors, readJson, samNoise } from '../support/reference.js';

const names = fixtures('sam/encoder').filter((name) => name.startsWith('tiny-'));

/** Where the reference's intermediate is in our graph: the tokens after the position embedding, after each block. */
const markOf = (tensor: string): string | undefined =>
  tensor === 'tokens_with_pos' ? 'patch_embed' : /^(blocks\.\d+)\.out$/.exec(tensor)?.[1];

describe.each(names)('%s', async (name) => {
  const description = readJson(`sam/encoder/${name}/case.json`);
  const noise = samNoise(`sam/encoder/${name}`);
  const expected = await HostTensors.load(`sam/encoder/${name}/expected.safetensors`);
  const image = generate(description.inputs.image);
  const traced = expected.names().filter(markOf);

  it('embeds as the official code, block by block', async () => {
    const model = samModel(description);
    const { embedding, ...values } = await encode(model, image, {
      trace: traced.map((tensor) => markOf(tensor)!),
    });
    for (const tensor of traced) {
      const want = expected.get(tensor);
      expectClose(reshaped(values[markOf(tensor)!]!, want.shape).data, want.data, noise[tensor]!, tensor);
    }
    expect(channelsFirst(embedding).shape).toEqual(expected.get('embedding').shape);
    expectClose(channelsFirst(embedding).data, expected.get('embedding').data, noise.embedding!, 'embedding');
    for (let i = 0; i < image.shape[0]! && image.shape[0]! > 1; i++) {
      const alone = await encode(model, item(image, i));
      expectClose(alone.embedding.data, item(embedding, i).data, {}, `image ${i} alone`);
    }
    model.weights.dispose();
  });

  it('embeds in bf16', async () => {
    const model = samModel(description);
    const { embedding } = await encode(model, image, { compute: 'bf16' });
    expectWithin(channelsFirst(embedding).data, expected.get('embedding').data, { relL2: BF16_MODEL });
    model.weights.dispose();
  });
});

describe('an encoder with absolute positions', () => {
  it('refuses another input size, naming both', async () => {
    const model = samModel(readJson('sam/encoder/tiny-224-w7/case.json'));
    const error = await errorOf(() => encode(model, generate({ name: 'image', shape: [1, 3, 224, 240] })));
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('224 × 224');
    expect(error.message).toContain('224 × 240');
    model.weights.dispose();
  });
});

describe('an encoder without a qkv bias', () => {
  it('pads windows with zeros, as one whose bias is zero', async () => {
    const { model, ...rest } = readJson('sam/encoder/tiny-224-norel-nobias/case.json');
    const { image_encoder, ...parts } = model.config;
    const width = image_encoder.embed_dim;
    // A grid of 10 in windows of 7.
    const tensors = model.tensors.map((rule: { name: string; shape: number[] }) =>
      rule.name.endsWith('pos_embed') ? { ...rule, shape: [1, 10, 10, width] } : rule,
    );
    const biases = Array.from({ length: image_encoder.depth }, (_, i) => ({
      name: `image_encoder.blocks.${i}.attn.qkv.bias`,
      shape: [3 * width],
      offset: 0,
      scale: 0,
    }));
    const variant = (qkv_bias: boolean, more: object[]) => ({
      ...rest,
      model: {
        config: { ...parts, image_encoder: { ...image_encoder, img_size: 160, qkv_bias } },
        tensors: [...tensors, ...more],
      },
    });
    const image = generate({ name: 'image', shape: [1, 3, 160, 160] });
    const without = samModel(variant(false, []));
    const zero = samModel(variant(true, biases));
    const { embedding } = await encode(without, image);
    expect(embedding.data).toEqual((await encode(zero, image)).embedding.data);
    for (const { weights } of [without, zero]) weights.dispose();
  });
});
