import { afterAll, describe, expect, it } from 'vitest';
import { BF16_MODEL, expectClose, expectWithin } from '../support/compare.js';
import { channelsFirst, item, reshaped } from '../support/layout.js';
import {
  decode,
  encode,
  hrsamModel,
  inputImage,
  type ModelCase,
  maskPrompt,
  ownTokens,
  promptTensors,
  type ReferencePrompt,
} from '../support/models.js';
import { fixtures, generate, type HostTensor, HostTensors, readJson } from '../support/reference.js';

const cases = fixtures('models')
  .filter((name) => name !== 'base')
  .map((name): ModelCase => readJson(`models/${name}/case.json`));

const models = new Set<ReturnType<typeof hrsamModel>>();
afterAll(() => {
  for (const { weights } of models) weights.dispose();
});

describe.each(cases)('$name', async (each) => {
  const { name, config_name, prompts, tensors_expected, fp32_vs_fp64 } = each;
  const model = hrsamModel(config_name);
  models.add(model);
  const expected = await HostTensors.load(`models/${name}/expected.safetensors`);
  const image = await inputImage(each, model.config);
  const marks = Object.keys(tensors_expected)
    .filter((tensor) => tensor.startsWith('trace/') && expected.has(tensor))
    .map((tensor) => tensor.slice('trace/'.length));

  const encoded = encode(model, image, { trace: marks });

  it('embeds as the published code, part by part', async () => {
    const { embedding, ...traced } = await encoded;
    for (const mark of marks) {
      const want = expected.get(`trace/${mark}`);
      // laterals are stored with channels first
      const value = mark.startsWith('lateral_convs') ? channelsFirst(traced[mark]!) : traced[mark]!;
      expectClose(value.data, want.data, fp32_vs_fp64[`trace/${mark}`]!, mark);
    }
    expect(channelsFirst(embedding).shape).toEqual(expected.get('embedding').shape);
    expectClose(
      channelsFirst(embedding).data,
      expected.get('embedding').data,
      fp32_vs_fp64.embedding!,
      'embedding',
    );
  });

  it('answers every prompt', async () => {
    const { embedding } = await encoded;
    const answers = new Map<string, HostTensor>();
    for (const prompt of prompts) {
      const tensors = promptTensors(prompt, ownTokens(model.config), maskPrompt(prompt, answers));
      const { masks, ious } = await decode(model, embedding, tensors);
      answers.set(prompt.name, masks);
      for (const [output, value] of Object.entries({ masks, ious })) {
        const what = `${prompt.name}/${output}`;
        expect(value.shape, what).toEqual(expected.get(what).shape);
        expectClose(value.data, expected.get(what).data, fp32_vs_fp64[what]!, what);
      }
    }
  });

  it('embeds in bf16', async () => {
    const { embedding } = await encode(model, image, { compute: 'bf16' });
    expectWithin(channelsFirst(embedding).data, expected.get('embedding').data, { relL2: BF16_MODEL });
  });

  if (image.shape[0]! > 1) {
    it('gives each image of the batch what it gets alone', async () => {
      const { embedding } = await encoded;
      for (let i = 0; i < image.shape[0]!; i++) {
        const alone = await encode(model, item(image, i));
        expectClose(alone.embedding.data, item(embedding, i).data, {});
      }
    });
  }
});

describe('prompts of a batch', async () => {
  const model = hrsamModel('tiny-hrsam');
  models.add(model);
  const image = generate({ name: 'image', shape: [1, 3, 112, 80], scale: 2 });
  const encoded = encode(model, image);
  const prompts: ReferencePrompt[] = [
    { name: 'point', points: [[[20, 30]]], labels: [[1]] },
    {
      name: 'points',
      points: [
        [
          [5, 60],
          [70, 11],
          [41, 100],
        ],
      ],
      labels: [[1, 0, 1]],
    },
    { name: 'box', boxes: [[8, 9, 60, 77]] },
  ];

  it('are independent, however many tokens stand beside them', async () => {
    const { embedding } = await encoded;
    const own = ownTokens(model.config);
    const single = prompts.map((prompt) => promptTensors(prompt, own));
    const width = 8;
    const points = new Float32Array(prompts.length * width * 2).fill(33);
    const labels = new Float32Array(prompts.length * width).fill(1);
    single.forEach((prompt, i) => {
      points.set(prompt.points.data, i * width * 2);
      labels.set(prompt.labels.data, i * width);
    });
    const together = await decode(model, embedding, {
      points: { shape: [prompts.length, width, 2], data: points },
      labels: { shape: [prompts.length, width], data: labels },
      lengths: {
        shape: [prompts.length],
        data: Float32Array.from(single, ({ labels: { data } }) => own + data.length),
      },
    });
    for (const [i, prompt] of single.entries()) {
      const alone = await decode(model, embedding, prompt);
      expectClose(item(together.masks, i).data, alone.masks.data, {}, `masks of ${prompts[i]!.name}`);
      expectClose(item(together.ious, i).data, alone.ious.data, {}, `ious of ${prompts[i]!.name}`);
    }
  });

  it('share one mask prompt or have one each', async () => {
    const { embedding } = await encoded;
    const own = ownTokens(model.config);
    const mask = generate({ name: 'mask', shape: [2, 28, 20], scale: 6 });
    const two: ReferencePrompt = { name: 'two', points: [[[20, 30]], [[60, 90]]], labels: [[1], [0]] };
    const each = await decode(model, embedding, promptTensors(two, own, mask));
    const shared = await decode(model, embedding, promptTensors(two, own, item(mask, 1)));
    for (let i = 0; i < 2; i++) {
      const point: ReferencePrompt = { name: 'one', points: [two.points![i]!], labels: [two.labels![i]!] };
      const alone = await decode(model, embedding, promptTensors(point, own, item(mask, i)));
      expectClose(item(each.masks, i).data, alone.masks.data, {});
      const sharedAlone = await decode(model, embedding, promptTensors(point, own, item(mask, 1)));
      expectClose(item(shared.masks, i).data, sharedAlone.masks.data, {});
    }
  });

  it('meet an image each where there are as many', async () => {
    const { embedding } = await encoded;
    const other = await encode(model, generate({ name: 'other', shape: [1, 3, 112, 80], scale: 2 }));
    const both = {
      shape: [2, ...embedding.shape.slice(1)],
      data: Float32Array.from([...embedding.data, ...other.embedding.data]),
    };
    const own = ownTokens(model.config);
    const twice: ReferencePrompt = {
      name: 'twice',
      boxes: [
        [8, 9, 60, 77],
        [8, 9, 60, 77],
      ],
    };
    const together = await decode(model, both, promptTensors(twice, own));
    for (const [i, one] of [embedding, other.embedding].entries()) {
      const alone = await decode(model, reshaped(one, embedding.shape), promptTensors(prompts[2]!, own));
      expectClose(item(together.masks, i).data, alone.masks.data, {});
    }
  });
});
