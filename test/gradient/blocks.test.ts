import { describe, expect, it } from 'vitest';
import { type Grid, gridTokens } from '../../lib/graph/grid.js';
import { squaredError } from '../../lib/graph/ops/squared_error.js';
import { block } from '../../lib/model/block.js';
import { samBlock } from '../../lib/model/sam_encoder.js';
import { expectClose } from '../support/compare.js';
import { reshaped } from '../support/layout.js';
import { generate, HostTensors, readJson, samNoise, type TensorRule } from '../support/reference.js';
import { host } from '../support/run.js';
import { caseWeights } from '../support/weights.js';
import { differentiate } from './support/backward.js';
import { compareGradient, describeGradients, expectGradients } from './support/reference.js';

const renamed = (name: string) => name.replace(/^w\./, 'b.');

describeGradients('block', (cases, tensors) => {
  it.each(cases)('reference $name', async (each) => {
    const { embed_dim, heads, window, shift, batch, hw_shapes: grids } = each.params;
    const get = (tensor: string) =>
      reshaped(tensors.get(`${each.name}/${tensor}`), [batch, gridTokens(grids), embed_dim]);
    const kind = shift === 0 ? ('plain' as const) : ('shifted' as const);
    const rope = { theta: 10000, scale: 0.5 };
    const options = { kind, heads, window, mlpRatio: 4, rope, grids, compute: 'f32' as const };
    const found = await differentiate(
      { x: get('x') },
      (graph, v) => ({ out: block(graph, 'b', v.x!, options) }),
      { weights: caseWeights(tensors, each, 'b.'), seeds: { out: get('dout') } },
    );
    expectClose(found.outputs.out!.data, get('out').data, each.fp32_vs_fp64.out!, 'out');
    expectGradients(each, tensors, found.gradients, renamed);
  });
});

describe('block of Segment Anything', () => {
  it.each(['window-block', 'global-block', 'global-block-resized-tables'])('reference %s', async (name) => {
    const folder = `sam/gradient/${name}`;
    const { config, tensors: rules, prefix, inputs } = readJson(`${folder}/case.json`);
    const [expected, noise] = [await HostTensors.load(`${folder}/expected.safetensors`), samNoise(folder)];
    const x = generate(inputs.x);
    const [batch, h, w, embedDim] = x.shape as [number, number, number, number];
    const grid: Grid = [h, w];
    const rows = config.rel_pos_rows as [number, number];
    const encoder = {
      embedDim,
      heads: config.num_heads,
      windowSize: config.window_size,
      globalBlocks: config.window_size > 0 ? [] : [0],
      mlpRatio: config.mlp_ratio,
      qkvBias: config.qkv_bias,
      normEps: config.norm_eps,
      useRelPos: config.use_rel_pos,
      relPosRows: { windowed: rows, global: rows },
    } as unknown as Parameters<typeof samBlock>[4];
    const weights = Object.fromEntries(
      (rules as TensorRule[]).map((rule) => [`blocks.0.${rule.name.slice(prefix.length)}`, generate(rule)]),
    );
    const tokens = [batch, h * w, embedDim];
    const found = await differentiate(
      { x: reshaped(x, tokens), target: reshaped(generate(inputs.target), tokens) },
      (graph, v) => {
        const y = samBlock(graph, 0, v.x!, grid, encoder, 'f32');
        return { y, loss: squaredError(graph, y, v.target!) };
      },
      {
        weights,
        wrt: ['x', ...Object.keys(weights)],
        // The reference's loss is the mean over the batch.
        seeds: { loss: host([batch], new Array(batch).fill(1 / batch)) },
      },
    );
    expectClose(found.outputs.y!.data, expected.get('y').data, noise.y!, 'y');
    const names = expected.names().filter((each) => each.startsWith('grad.'));
    expect(names).toHaveLength(1 + Object.keys(weights).length);
    for (const each of names) {
      const name = each.slice('grad.'.length);
      const actual = found.gradients[name === 'x' ? 'x' : `blocks.0.${name}`];
      compareGradient(actual, expected.get(each), noise[each]!, each);
    }
  });
});
