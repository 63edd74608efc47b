import { describe, expect, it } from 'vitest';
import { depthToSpace } from '../../lib/graph/ops/depth_to_space.js';
import { convolution, upscaleLayer } from '../../lib/model/layers.js';
import { upscale } from '../../lib/model/mask_decoder.js';
import { BF16_MODEL, expectClose, expectWithin } from '../support/compare.js';
import { channelsFirst, channelsLast } from '../support/layout.js';
import { generate, HostTensors, opCases, samNoise, samOps } from '../support/reference.js';
import { run, runOne } from '../support/run.js';
import { caseWeights } from '../support/weights.js';

describe('convolution', async () => {
  const patches = await HostTensors.load('ops/patch_embed.safetensors');
  const sam = await HostTensors.load('sam/ops/expected.safetensors');
  const noise = samNoise('sam/ops');

  it.each(opCases('patch_embed'))('patch embedding of the reference, $name', async (each) => {
    const { embed_dim: outer, patch_size: kernel } = each.params;
    const x = patches.get(`${each.name}/x`);
    const { wide, narrow } = await run(
      { x },
      (graph, v) => {
        const options = { kernel, stride: kernel, channelsLast: false };
        return {
          wide: convolution(graph, 'proj', v.x!, outer, options),
          narrow: convolution(graph, 'proj', v.x!, outer, { ...options, dtype: 'bf16' }, { dtype: 'f32' }),
        };
      },
      { constants: caseWeights(patches, each) },
    );
    const want = patches.get(`${each.name}/out`);
    expect(channelsFirst(wide!).shape).toEqual(want.shape);
    expectClose(channelsFirst(wide!).data, want.data, each.fp32_vs_fp64.out!);
    expectWithin(channelsFirst(narrow!).data, want.data, { relL2: BF16_MODEL });
  });

  it.each(samOps('conv'))(
    'Segment Anything, $out, in both layouts',
    async ({ x, weight, bias, stride, padding, out }) => {
      const image = generate(x);
      const [outer, , kernel] = weight.shape;
      const { last, first } = await run(
        { image, map: channelsLast(image) },
        (graph, v) => ({
          last: convolution(graph, 'c', v.map!, outer, { kernel, stride, padding }),
          first: convolution(graph, 'c', v.image!, outer, { kernel, stride, padding, channelsLast: false }),
        }),
        { constants: { 'c.weight': generate(weight), 'c.bias': generate(bias) } },
      );
      expectClose(channelsFirst(last!).data, sam.get(out).data, noise[out]!);
      expectClose(channelsFirst(first!).data, sam.get(out).data, noise[out]!);
    },
  );
});

describe('transposed convolution', async () => {
  const upscaling = await HostTensors.load('ops/upscaling.safetensors');
  const sam = await HostTensors.load('sam/ops/expected.safetensors');

  it.each(samOps('conv_transpose'))('Segment Anything, $out', async ({ x, weight, bias, out }) => {
    const y = await runOne(
      { x: channelsLast(generate(x)) },
      (graph, v) => depthToSpace(graph, upscaleLayer(graph, 'c', v.x!, weight.shape[1]), 2),
      { constants: { 'c.weight': generate(weight), 'c.bias': generate(bias) } },
    );
    expectClose(channelsFirst(y).data, sam.get(out).data, samNoise('sam/ops')[out]!);
  });

  it.each(opCases('upscaling'))("the decoder's upscaling of the reference, $name", async (each) => {
    const x = upscaling.get(`${each.name}/x`);
    const y = await runOne(
      { x: channelsLast(x) },
      (graph, v) => depthToSpace(graph, upscale(graph, v.x!, x.shape[1]!), 2),
      { constants: caseWeights(upscaling, each) },
    );
    expectClose(channelsFirst(y).data, upscaling.get(`${each.name}/out`).data, each.fp32_vs_fp64.out!);
  });
});
