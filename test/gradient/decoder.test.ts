import { it } from 'vitest';
import { add } from '../../lib/graph/ops/add.js';
import { maskDecoder } from '../../lib/model/mask_decoder.js';
import { promptEncoder } from '../../lib/model/prompt_encoder.js';
import type { PromptConfig } from '../../lib/weights/config.js';
import { expectClose } from '../support/compare.js';
import { channelsFirst, channelsLast, reshaped } from '../support/layout.js';
import type { HostTensor, OpCase } from '../support/reference.js';
import { host } from '../support/run.js';
import { caseWeights } from '../support/weights.js';
import { differentiate } from './support/backward.js';
import { describeGradients, expectGradients } from './support/reference.js';

/** (B, n, k) and (B, m, k) → (B, n + m, k) */
function joined(a: HostTensor, b: HostTensor, width: number): HostTensor {
  const batch = a.shape[0]!;
  const parts = ({ data }: HostTensor, i: number) => [
    ...data.subarray((i * data.length) / batch, ((i + 1) * data.length) / batch),
  ];
  const rows = Array.from({ length: batch }, (_, i) => [...parts(a, i), ...parts(b, i)]);
  return host([batch, rows[0]!.length / width, width], rows.flat());
}

describeGradients('prompt_encoder', (cases, tensors) => {
  it.each(cases)('reference $name', async (each) => {
    const get = (tensor: string) => tensors.get(`${each.name}/${tensor}`);
    const { embed_dim, image_embed_size, input_image_size, mask_in_dim, embed_size } = each.params;
    const batch = get('points').shape[0]!;
    // Corners of a box are points with labels of their own; without a box there is a padding point.
    const boxed = each.inputs.includes('boxes');
    const further = boxed ? get('boxes') : host([batch, 1, 2], new Array(2 * batch).fill(0));
    const furtherLabels = host(
      [batch, boxed ? 2 : 1, 1],
      new Array(batch).fill(boxed ? [2, 3] : [-1]).flat(),
    );
    const labels = joined(get('labels'), furtherLabels, 1);
    const mask = each.inputs.includes('mask_logits') && get('mask_logits');
    const config = {
      embedDim: embed_dim,
      imageEmbedSize: image_embed_size,
      inputImageSize: input_image_size,
      maskInDim: mask_in_dim,
      resizePositions: true,
    } as PromptConfig;
    const seeds = { sparse: get('dsparse'), dense: channelsLast(get('ddense')) };
    const found = await differentiate(
      {
        points: joined(get('points'), further, 2),
        labels: reshaped(labels, labels.shape.slice(0, 2)),
        zeros: host(seeds.dense.shape, new Float32Array(seeds.dense.data.length)),
        ...(mask && { mask: reshaped(mask, [batch, ...mask.shape.slice(2)]) }),
      },
      (graph, v) => {
        const prompts = { points: v.points!, labels: v.labels!, mask: v.mask };
        const { sparse, dense } = promptEncoder(graph, prompts, embed_size, config);
        return { sparse, dense: add(graph, v.zeros!, dense) };
      },
      {
        weights: caseWeights(tensors, each, 'neck.'),
        wrt: each.outputs
          .filter((output) => output.startsWith('grad.'))
          .map((output) => renamed(output.slice('grad.'.length))),
        seeds,
      },
    );
    expectClose(found.outputs.sparse!.data, get('sparse_embeds').data, each.fp32_vs_fp64.sparse_embeds!);
    expectClose(
      channelsFirst(found.outputs.dense!).data,
      get('dense_embeds').data,
      each.fp32_vs_fp64.dense_embeds!,
    );
    expectGradients(each, tensors, found.gradients, renamed);
  });

  const renamed = (name: string) => (name === 'mask_logits' ? 'mask' : name.replace(/^w\./, 'neck.'));
});

describeGradients('mask_decoder', (cases, tensors) => {
  const config = ({ params }: OpCase) => ({
    dim: params.embed_dim,
    depth: params.depth,
    mlpDim: params.mlp_dim,
    heads: params.num_heads,
    multimaskOutputs: params.num_multimask_outputs,
    iouDepth: 3,
    iouHiddenDim: params.iou_head_hidden_dim,
    downsampleRate: 2,
  });

  it.each(cases)('reference $name', async (each) => {
    const get = (tensor: string) => tensors.get(`${each.name}/${tensor}`);
    const found = await differentiate(
      {
        image_embeds: channelsLast(get('image_embeds')),
        image_pos_embeds: channelsLast(get('image_pos_embeds')),
        dense_embeds: channelsLast(get('dense_embeds')),
        sparse_embeds: get('sparse_embeds'),
      },
      (graph, v) => {
        const prompts = {
          sparse: v.sparse_embeds!,
          dense: v.dense_embeds!,
          imagePositions: v.image_pos_embeds!,
        };
        const { masks, ious } = maskDecoder(graph, v.image_embeds!, prompts, config(each));
        return { masks, ious };
      },
      {
        weights: caseWeights(tensors, each, 'decode_head.'),
        seeds: { masks: get('dmasks'), ious: get('dious') },
      },
    );
    for (const output of ['masks', 'ious'])
      expectClose(found.outputs[output]!.data, get(output).data, each.fp32_vs_fp64[output]!, output);
    const renamed = (name: string) => name.replace(/^w\./, 'decode_head.');
    const maps = ['image_embeds', 'image_pos_embeds', 'dense_embeds'].map((name) => [
      name,
      channelsFirst(found.gradients[name]!),
    ]);
    expectGradients(each, tensors, { ...found.gradients, ...Object.fromEntries(maps) }, renamed);
  });
});
