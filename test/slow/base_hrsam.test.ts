import { afterAll, expect, it } from 'vitest';
import { BF16_MODEL, expectClose, expectWithin } from '../support/compare.js';
import { channelsFirst, strided } from '../support/layout.js';
import {
  decode,
  encode,
  hrsamModel,
  inputImage,
  type ModelCase,
  maskPrompt,
  ownTokens,
  promptTensors,
} from '../support/models.js';
import {
  describeShared,
  fixtures,
  type HostTensor,
  HostTensors,
  hasShared,
  readJson,
} from '../support/reference.js';
import { device } from '../support/run.js';

// Cases of one model follow each other: the last one's weights are given back.
const cases = hasShared
  ? fixtures('models/base').map((name): ModelCase => readJson(`models/base/${name}/case.json`))
  : [];

/** [:, ::8, ::4, ::4] of (1, C, h, w) */
function sampled(map: HostTensor): HostTensor {
  const [, channels, h, w] = map.shape as [number, number, number, number];
  const kept = Array.from({ length: Math.ceil(channels / 8) }, (_, i) => [
    ...map.data.subarray(i * 8 * h * w, (i * 8 + 1) * h * w),
  ]);
  return strided({ shape: [1, kept.length, h, w], data: Float32Array.from(kept.flat()) }, 4);
}

let last: { name: string; model: ReturnType<typeof hrsamModel> } | undefined;
const modelOf = (name: string) => {
  if (last?.name !== name) {
    last?.model.weights.dispose();
    last = { name, model: hrsamModel(name) };
  }
  return last.model;
};
afterAll(() => last?.model.weights.dispose());

describeShared('base models of HRSAM', () => {
  it.each(cases)('$name', async (each) => {
    const { name, config_name, prompts, fp32_vs_fp64 } = each;
    const model = modelOf(config_name);
    const expected = await HostTensors.load(`models/base/${name}/expected.safetensors`);
    const image = await inputImage(each, model.config);
    const { embedding } = await encode(model, image);
    const map = channelsFirst(embedding);
    const noise = fp32_vs_fp64.embedding!;
    expectClose(sampled(map).data, expected.get('embedding_strided').data, noise, 'embedding, sampled');
    // the whole, as far as half precision tells: half an ulp is 2⁻¹¹ of a value
    const half = expected.get('embedding_f16').data;
    expectWithin(map.data, half, { relL2: 3e-4 }, 'embedding in half precision');
    const [, channels] = map.shape as [number, number];
    const size = map.data.length / channels;
    const rows = Array.from({ length: channels }, (_, c) => map.data.subarray(c * size, (c + 1) * size));
    const mean = rows.map((row) => row.reduce((sum, value) => sum + value, 0) / size);
    const deviation = rows.map((row, c) =>
      Math.sqrt(row.reduce((sum, value) => sum + (value - mean[c]!) ** 2, 0) / size),
    );
    expectClose(mean, expected.get('embedding_mean').data, noise, 'mean of channels');
    expectClose(deviation, expected.get('embedding_std').data, noise, 'deviation of channels');

    const answers = new Map<string, HostTensor>();
    for (const prompt of prompts) {
      const mask = maskPrompt(prompt, answers);
      const { masks, ious } = await decode(
        model,
        embedding,
        promptTensors(prompt, ownTokens(model.config), mask),
      );
      answers.set(prompt.name, masks);
      const all = expected.has(`${prompt.name}/masks`);
      const want = expected.get(`${prompt.name}/${all ? 'masks' : 'mask0'}`).data;
      expectClose(
        masks.data.subarray(0, want.length),
        want,
        fp32_vs_fp64[`${prompt.name}/masks`]!,
        `${prompt.name}/masks`,
      );
      expectClose(
        ious.data,
        expected.get(`${prompt.name}/ious`).data,
        fp32_vs_fp64[`${prompt.name}/ious`]!,
        `${prompt.name}/ious`,
      );
    }

    const narrow = await encode(model, image, { compute: 'bf16' });
    expectWithin(channelsFirst(narrow.embedding).data, half, { relL2: BF16_MODEL }, 'embedding in bf16');
    await device.trim();
    expect(device.memory().peak, 'peak memory in bytes').toBeLessThan(3e9);
  });
});
