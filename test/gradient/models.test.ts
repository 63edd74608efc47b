import { describe, expect, it } from 'vitest';
import type { Graph } from '../../lib/graph/graph.js';
import { squaredError } from '../../lib/graph/ops/squared_error.js';
import { samEncoder } from '../../lib/model/sam_encoder.js';
import { distillationLoss } from '../../lib/train/losses.js';
import { configFromAuthors } from '../../lib/weights/authors.js';
import type { ModelConfig } from '../../lib/weights/config.js';
import { toInternalName } from '../../lib/weights/names.js';
import { expectClose } from '../support/compare.js';
import { channelsLast, reshaped, strided } from '../support/layout.js';
import { ownTokens } from '../support/models.js';
import {
  generate,
  type HostTensor,
  HostTensors,
  readJson,
  samNoise,
  type TensorRule,
} from '../support/reference.js';
import { type HostValues, host } from '../support/run.js';
import { segmentationLoss } from '../support/training.js';
import { differentiate } from './support/backward.js';
import { compareGradient, describeGradients, expectGradients, ones } from './support/reference.js';

/** A model of the manifest and the weights that a gradient is stated for: of names under these parts. */
function trainable(name: string, parts: RegExp): { config: ModelConfig; weights: HostValues } {
  const { tensors, parameters: _, ...config } = readJson('manifest.json').configs[name];
  const rules = (tensors as TensorRule[]).filter(
    (rule) => parts.test(rule.name) && rule.rule !== 'rope_freqs',
  );
  return {
    config: configFromAuthors(config),
    weights: Object.fromEntries(rules.map((rule) => [rule.name, generate(rule)])),
  };
}

const sizeOf = ({ shape: [batch, , height, width] }: HostTensor) => ({
  batch: batch!,
  height: height!,
  width: width!,
});

describeGradients('distillation', (cases, tensors) => {
  it.each(cases)('reference $name', async (each) => {
    const get = (tensor: string) => tensors.get(`${each.name}/${tensor}`);
    const { config, weights } = trainable(each.params.config_name, /^backbone\./);
    const image = generate(each.params.input);
    const build = distillationLoss(config, sizeOf(image), 'f32');
    const found = await differentiate(
      { image, target: channelsLast(get('target')) },
      (graph) => ({ loss: build(graph).loss }),
      { weights, wrt: ['image', ...Object.keys(weights)], seeds: { loss: ones([image.shape[0]!]) } },
    );
    expectClose(found.outputs.loss!.data, get('loss').data, each.fp32_vs_fp64.loss!, 'loss');
    expectGradients(each, tensors, found.gradients);
  });
});

describeGradients('segmentation', (cases, tensors) => {
  it.each(cases)('reference $name', async (each) => {
    const get = (tensor: string) => tensors.get(`${each.name}/${tensor}`);
    const { config, weights } = trainable(each.params.config_name, /./);
    const image = generate(each.params.input);
    const { batch, height, width } = sizeOf(image);
    // Two points and the padding point that follows where there is no box.
    const rows = (tensor: HostTensor, fill: number, by: number) =>
      Array.from({ length: batch }, (_, b) => [
        ...tensor.data.subarray(b * 2 * by, (b + 1) * 2 * by),
        ...new Array<number>(by).fill(fill),
      ]).flat();
    const build = segmentationLoss(config, { batch, height, width, tokens: 3, refine: true });
    const found = await differentiate(
      {
        image,
        points: host([batch, 3, 2], rows(get('points'), 0, 2)),
        point_labels: host([batch, 3], rows(get('point_labels'), -1, 1)),
        lengths: host([batch], new Array(batch).fill(ownTokens(config) + 3)),
        mask: reshaped(get('prev_logits'), [batch, height / 4, width / 4]),
        labels: reshaped(get('labels'), [batch, 1, height, width]),
      },
      (graph) => {
        const { loss, outputs } = build(graph);
        return { loss, logits: outputs!.logits };
      },
      {
        weights,
        // The random Fourier matrix is fixed.
        wrt: Object.keys(weights).filter((name) => !name.endsWith('gaussian_matrix')),
        seeds: { loss: ones([batch]) },
        dtypes: { lengths: 'i32' },
      },
    );
    for (const output of ['loss', 'logits'])
      expectClose(found.outputs[output]!.data, get(output).data, each.fp32_vs_fp64[output]!, output);
    expectGradients(each, tensors, found.gradients);
  });
});

describe('encoder of Segment Anything', async () => {
  const folder = 'sam/gradient/whole-encoder';
  const expected = await HostTensors.load(`${folder}/expected.safetensors`);
  const noise = samNoise(folder);

  it('reference whole-encoder', async () => {
    const { config, tensors: rules, inputs } = readJson(`${folder}/case.json`);
    const c = config.image_encoder;
    const model = {
      imgSize: c.img_size,
      patchSize: c.patch_size,
      inChans: c.in_chans,
      embedDim: c.embed_dim,
      depth: c.depth,
      heads: c.num_heads,
      mlpRatio: c.mlp_ratio,
      outChans: c.out_chans,
      qkvBias: c.qkv_bias,
      normEps: c.norm_eps,
      useAbsPos: c.use_abs_pos,
      useRelPos: c.use_rel_pos,
      windowSize: c.window_size,
      globalBlocks: c.global_attn_indexes,
    };
    const weights = Object.fromEntries(
      (rules as TensorRule[]).map((rule) => [toInternalName(rule.name), generate(rule)]),
    );
    const found = await differentiate(
      { image: generate(inputs.x), target: channelsLast(generate(inputs.target)) },
      (graph: Graph, v) => {
        const y = samEncoder(graph, v.image!, model, 'f32');
        return { y, loss: squaredError(graph, y, v.target!) };
      },
      { weights, wrt: ['image', ...Object.keys(weights)], seeds: { loss: ones([1]) } },
    );
    expectClose(found.outputs.y!.data, channelsLast(expected.get('y')).data, noise.y!, 'y');
    const names = expected.names().filter((each) => each.startsWith('grad.') && each !== 'grad.x.strided');
    expect(names).toHaveLength(Object.keys(weights).length);
    for (const each of names) {
      const name = toInternalName(`image_encoder.${each.slice('grad.'.length)}`);
      compareGradient(found.gradients[name], expected.get(each), noise[each]!, each);
    }
    compareGradient(
      strided(found.gradients.image!, 3),
      expected.get('grad.x.strided'),
      noise['grad.x.strided']!,
      'grad.x',
    );
  });
});
