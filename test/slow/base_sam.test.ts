import { expect, it } from 'vitest';
import { BF16_MODEL, expectClose, expectWithin } from '../support/compare.js';
import { channelsFirst, permuted, reshaped, strided } from '../support/layout.js';
import { encode, samModel } from '../support/models.js';
import {
  describeShared,
  generate,
  type HostTensor,
  HostTensors,
  readJson,
  samNoise,
} from '../support/reference.js';
import { device } from '../support/run.js';

const FOLDER = 'sam/encoder/vit-b-1024';

/** Every 16th row and column of tokens (1, 64·64, C), as (1, 4, 4, C). */
function sampled(tokens: HostTensor): HostTensor {
  const channels = tokens.shape.at(-1)!;
  const map = permuted(reshaped(tokens, [1, 64, 64, channels]), [0, 3, 1, 2]);
  return permuted(strided(map, 16), [0, 2, 3, 1]);
}

describeShared('ViT-B of Segment Anything', () => {
  it('embeds 1024 × 1024 as the official code', async () => {
    const description = readJson(`${FOLDER}/case.json`);
    const noise = samNoise(FOLDER);
    const expected = await HostTensors.load(`${FOLDER}/expected.safetensors`);
    const model = samModel(description);
    const image = generate(description.inputs.image);
    const trace = ['patch_embed', ...Array.from({ length: 12 }, (_, i) => `blocks.${i}`)];
    const { embedding, ...traced } = await encode(model, image, { trace });
    for (const mark of trace) {
      const tensor = mark === 'patch_embed' ? 'tokens_with_pos.strided16' : `${mark}.out.strided16`;
      expectClose(sampled(traced[mark]!).data, expected.get(tensor).data, noise[tensor]!, tensor);
    }
    const map = channelsFirst(embedding);
    expectClose(
      strided(map, 4).data,
      expected.get('embedding.strided4').data,
      noise['embedding.strided4']!,
      'embedding',
    );
    const half = expected.get('embedding.f16').data;
    expectWithin(
      map.data,
      half,
      { relL2: 3e-4, maxAbs: noise['embedding.f16']!.atol },
      'embedding in half precision',
    );

    const narrow = await encode(model, image, { compute: 'bf16' });
    expectWithin(channelsFirst(narrow.embedding).data, half, { relL2: BF16_MODEL }, 'embedding in bf16');
    model.weights.dispose();
    expect(device.memory().peak, 'peak memory in bytes').toBeLessThan(3e9);
  });
});
