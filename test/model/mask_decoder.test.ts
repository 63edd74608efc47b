import { describe, expect, it } from 'vitest';
import { maskDecoder, twoWayTransformer } from '../../lib/model/mask_decoder.js';
import type { DecoderConfig } from '../../lib/weights/config.js';
import { expectClose } from '../support/compare.js';
import { channelsLast, reshaped } from '../support/layout.js';
import { type HostTensor, HostTensors, type OpCase, opCases } from '../support/reference.js';
import { host, run } from '../support/run.js';
import { caseWeights } from '../support/weights.js';

const config = ({ params }: OpCase): DecoderConfig => ({
  dim: params.embed_dim,
  depth: params.depth,
  mlpDim: params.mlp_dim,
  heads: params.num_heads,
  multimaskOutputs: params.num_multimask_outputs ?? 3,
  iouDepth: 3,
  iouHiddenDim: params.iou_head_hidden_dim ?? 0,
  downsampleRate: params.attention_downsample_rate ?? 2,
});

describe('two-way transformer', async () => {
  const tensors = await HostTensors.load('ops/decoder_transformer.safetensors');
  const flat = (map: HostTensor) => {
    const [batch, channels, h, w] = map.shape as [number, number, number, number];
    return reshaped(channelsLast(map), [batch, h * w, channels]);
  };

  it.each(opCases('decoder_transformer'))('reference $name', async (each) => {
    const get = (tensor: string) => tensors.get(`${each.name}/${tensor}`);
    const inputs = {
      tokens: get('point_embeds'),
      image: flat(get('image_embeds')),
      positions: flat(get('image_pos_embeds')),
    };
    const outputs = await run(
      inputs,
      (graph, v) => {
        const { queries, keys } = twoWayTransformer(graph, v.tokens!, v.image!, v.positions!, config(each));
        return { query: queries, key: keys };
      },
      { constants: caseWeights(tensors, each) },
    );
    for (const output of each.outputs) {
      expectClose(outputs[output]!.data, get(output).data, each.fp32_vs_fp64[output]!, output);
    }
  });
});

describe('mask decoder', async () => {
  const tensors = await HostTensors.load('ops/mask_decoder.safetensors');

  it.each(opCases('mask_decoder'))('reference $name', async (each) => {
    const get = (tensor: string) => tensors.get(`${each.name}/${tensor}`);
    const given = get('sparse_embeds');
    const [batch, count, dim] = given.shape as [number, number, number];
    // Without prompts one token stands there and does not count.
    const own = config(each).multimaskOutputs + 2;
    const sparse = count > 0 ? given : host([batch, 1, dim], new Float32Array(batch * dim).fill(7));
    const inputs = {
      embedding: channelsLast(get('image_embeds')),
      imagePositions: channelsLast(get('image_pos_embeds')),
      dense: channelsLast(get('dense_embeds')),
      sparse,
      lengths: host([batch], new Array(batch).fill(own + count)),
    };
    const { masks, ious } = await run(
      inputs,
      (graph, v) => {
        const prompts = { sparse: v.sparse!, dense: v.dense!, imagePositions: v.imagePositions! };
        const { masks, ious } = maskDecoder(graph, v.embedding!, prompts, config(each), v.lengths);
        return { masks, ious };
      },
      { constants: caseWeights(tensors, each, 'decode_head.'), dtypes: { lengths: 'i32' } },
    );
    expect(masks!.shape).toEqual(get('masks').shape);
    expectClose(masks!.data, get('masks').data, each.fp32_vs_fp64.masks!, 'masks');
    expectClose(ious!.data, get('ious').data, each.fp32_vs_fp64.ious!, 'ious');
  });
});
