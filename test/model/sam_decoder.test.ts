import { describe, expect, it } from 'vitest';
import { promptEncoder } from '../../lib/model/prompt_encoder.js';
import { expectClose } from '../support/compare.js';
import { channelsFirst, channelsLast, strided } from '../support/layout.js';
import {
  decode,
  type Model,
  ownTokens,
  promptTensors,
  type ReferencePrompt,
  samModel,
} from '../support/models.js';
import {
  fixtures,
  generate,
  type HostTensor,
  HostTensors,
  readJson,
  samNoise,
  type TensorRule,
} from '../support/reference.js';
import { type HostValues, runModel } from '../support/run.js';

/** Intermediates that are a mark of our graph, by the name that the reference has for them. */
const MARKS: [reference: RegExp, mark: (match: RegExpExecArray) => string][] = [
  // Only layer 0 adds no residual before our mark.
  [/^layers\.0\.self_attn\.out$/, () => 'decode_head.transformer.layers.0.self_attn'],
  [/^(layers\.\d\.(queries|keys))$/, ([name]) => name],
  [/^transformer\.(queries|keys)$/, ([, name]) => name!],
];

function markOf(tensor: string): string | undefined {
  for (const [pattern, mark] of MARKS) {
    const match = pattern.exec(tensor);
    if (match) return mark(match);
  }
  return undefined;
}

/** Sparse, dense and image position codes. */
function encodePrompts(
  { config, weights }: Model,
  embedding: HostTensor,
  prompt: ReturnType<typeof promptTensors>,
) {
  const grid = [embedding.shape[1]!, embedding.shape[2]!] as const;
  const { lengths: _, ...inputs } = prompt;
  return runModel(inputs as unknown as HostValues, weights, (graph, v) => {
    const { sparse, dense, imagePositions } = promptEncoder(
      graph,
      { points: v.points!, labels: v.labels!, mask: v.mask },
      grid,
      config.prompt,
    );
    return { sparse, dense, dense_pe: imagePositions };
  });
}

/** The value as the reference stores it: channels first, perhaps only every n-th row and column. */
function stored(value: HostTensor, shape: readonly number[]): HostTensor {
  const map = value.shape.length === 4 ? channelsFirst(value) : value;
  return map.shape.length === 4 && map.shape[3] !== shape[3] ? strided(map, map.shape[3]! / shape[3]!) : map;
}

describe.each(fixtures('sam/decoder'))('%s', async (name) => {
  const description = readJson(`sam/decoder/${name}/case.json`);
  const noise = samNoise(`sam/decoder/${name}`);
  const expected = await HostTensors.load(`sam/decoder/${name}/expected.safetensors`);
  const embedding = channelsLast(generate(description.inputs.image_embedding as TensorRule));
  const prompts: ReferencePrompt[] = description.inputs.prompts;

  const check = (value: HostTensor, tensor: string) => {
    for (const stem of [tensor, `${tensor}.strided`]) {
      if (!expected.has(stem)) continue;
      const want = expected.get(stem);
      expectClose(stored(value, want.shape).data, want.data, noise[stem]!, stem);
    }
  };

  it.each(prompts)('answers $name as the official code', async (prompt) => {
    const model = samModel(description);
    const mask = prompt.mask_input && generate(prompt.mask_input);
    const tensors = promptTensors(prompt, ownTokens(model.config), mask);
    const { sparse, dense, dense_pe } = await encodePrompts(model, embedding, tensors);
    check(dense_pe!, 'dense_pe');
    if (!tensors.lengths) check(sparse!, `${prompt.name}.sparse`);
    if (mask) check(dense!, `${prompt.name}.dense`);
    const marked = expected
      .names()
      .filter(
        (tensor) => tensor.startsWith(`${prompt.name}.`) && markOf(tensor.slice(prompt.name.length + 1)),
      )
      .map((tensor) => ({ tensor, mark: markOf(tensor.slice(prompt.name.length + 1))! }));
    const outputs = await decode(model, embedding, tensors, { trace: marked.map(({ mark }) => mark) });
    for (const { tensor, mark } of marked) {
      expectClose(outputs[mark]!.data, expected.get(tensor).data, noise[tensor]!, tensor);
    }
    // masks are already (P, M, 4h, 4w)
    expect(outputs.ious.shape).toEqual(expected.get(`${prompt.name}.iou`).shape);
    expectClose(
      outputs.ious.data,
      expected.get(`${prompt.name}.iou`).data,
      noise[`${prompt.name}.iou`]!,
      'iou',
    );
    const stem = [`${prompt.name}.low_res`, `${prompt.name}.low_res.strided`].find((tensor) =>
      expected.has(tensor),
    )!;
    const want = expected.get(stem);
    const step = outputs.masks.shape[3]! / want.shape[3]!;
    expectClose(strided(outputs.masks, step).data, want.data, noise[stem]!, stem);
    model.weights.dispose();
  });
});
