import { describe, expect, it } from 'vitest';
import type { Grid } from '../../lib/graph/grid.js';
import { promptEncoder } from '../../lib/model/prompt_encoder.js';
import { expectClose } from '../support/compare.js';
import { channelsFirst, strided } from '../support/layout.js';
import { promptTensors, type ReferencePrompt } from '../support/models.js';
import { type HostTensor, HostTensors, opCases } from '../support/reference.js';
import { type HostValues, host, run } from '../support/run.js';
import { caseWeights } from '../support/weights.js';

/** A tensor as nested rows of its first two axes. */
const nested = ({ shape, data }: HostTensor): number[][][] =>
  Array.from({ length: shape[0]! }, (_, b) =>
    Array.from({ length: shape[1]! }, (__, i) => {
      const width = data.length / shape[0]! / shape[1]!;
      return [...data.subarray((b * shape[1]! + i) * width, (b * shape[1]! + i + 1) * width)];
    }),
  );

const configOf = ({ params }: ReturnType<typeof opCases>[number]) =>
  ({
    embedDim: params.embed_dim,
    imageEmbedSize: params.image_embed_size as Grid,
    inputImageSize: params.input_image_size as Grid,
    maskInDim: params.mask_in_dim,
    resizePositions: true,
  }) as Parameters<typeof promptEncoder>[3];

describe('prompt encoder', async () => {
  const tensors = await HostTensors.load('ops/prompt_encoder.safetensors');

  it.each(opCases('prompt_encoder'))('reference $name', async (each) => {
    const { embed_dim, embed_size } = each.params;
    const given = (input: string) =>
      each.inputs.includes(input) ? tensors.get(`${each.name}/${input}`) : undefined;
    const [points, labels, boxes] = [given('points'), given('labels'), given('boxes')];
    const prompt: ReferencePrompt = {
      name: each.name,
      points: points && nested(points),
      labels: labels && nested(labels).map((rows) => rows.flat()),
      boxes: boxes && nested(boxes).map((rows) => rows.flat()),
    };
    const { lengths, ...inputs } = promptTensors(prompt, 5, given('mask_logits'));
    const config = configOf(each);
    const { sparse, dense, positions } = await run(
      inputs as unknown as HostValues,
      (graph, v) => {
        const encoded = promptEncoder(
          graph,
          { points: v.points!, labels: v.labels!, mask: v.mask },
          embed_size,
          config,
        );
        return { sparse: encoded.sparse, dense: encoded.dense, positions: encoded.imagePositions };
      },
      { constants: caseWeights(tensors, each, 'neck.') },
    );
    const want = (output: string) => tensors.get(`${each.name}/${output}`);
    // without any point there is one here that does not count
    if (lengths) expect(want('sparse_embeds').shape[1]).toBe(0);
    else expectClose(sparse!.data, want('sparse_embeds').data, each.fp32_vs_fp64.sparse_embeds!, 'sparse');
    const map = channelsFirst(dense!);
    const dense_embeds = want('dense_embeds');
    const area = dense_embeds.shape[2]! * dense_embeds.shape[3]!;
    const spread = given('mask_logits')
      ? map.data
      : Float32Array.from(dense_embeds.data, (_, i) => map.data[Math.floor(i / area) % embed_dim]!);
    expectClose(spread, dense_embeds.data, each.fp32_vs_fp64.dense_embeds!, 'dense');
    const codes = channelsFirst(positions!);
    const step = codes.shape[3]! / want('image_pos_embeds').shape[3]!;
    expectClose(
      strided(codes, step).data,
      want('image_pos_embeds').data,
      each.fp32_vs_fp64.image_pos_embeds!,
      'positions',
    );
  });

  it('takes coordinates in pixels of the input, whatever the patches', async () => {
    const each = opCases('prompt_encoder').find(
      ({ inputs }) => inputs.includes('points') && !inputs.includes('boxes'),
    )!;
    const { embed_size } = each.params;
    const config = configOf(each);
    const constants = caseWeights(tensors, each, 'neck.');
    const sparse = async (scale: number) => {
      const [h, w] = config.inputImageSize;
      const scaled = { ...config, inputImageSize: [scale * h, scale * w] as [number, number] };
      // The middle of the pixel that a click is in stays where it is in the picture.
      const points = [3, 5.25, 20, 11].map((at) => scale * (at + 0.5) - 0.5);
      const values = await run(
        { points: host([1, 2, 2], points), labels: host([1, 2], [1, 0]) },
        (graph, v) => ({
          sparse: promptEncoder(graph, { points: v.points!, labels: v.labels! }, embed_size, scaled).sparse,
        }),
        { constants },
      );
      return values.sparse!.data;
    };
    expectClose(await sparse(0.5), await sparse(1), { rel_l2: 1e-6 });
  });
});
