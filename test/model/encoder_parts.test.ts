import { describe, expect, it } from 'vitest';
import type { Grid } from '../../lib/graph/grid.js';
import { add } from '../../lib/graph/ops/add.js';
import { block } from '../../lib/model/block.js';
import { cycleScanBlock } from '../../lib/model/cycle_scan_block.js';
import { fuseScales, lateral, outputLayer } from '../../lib/model/hrsam_encoder.js';
import type { ComputeType } from '../../lib/model/layers.js';
import { BF16_MODEL, expectClose, expectWithin } from '../support/compare.js';
import { channelsFirst, reshaped } from '../support/layout.js';
import { HostTensors, opCases } from '../support/reference.js';
import { run, runOne } from '../support/run.js';
import { caseWeights } from '../support/weights.js';

const rope = { theta: 10000, scale: 0.5 };
const tokens = (grids: readonly Grid[]) => grids.reduce((sum, [h, w]) => sum + h * w, 0);

describe('block', async () => {
  const tensors = await HostTensors.load('ops/block.safetensors');

  it.each(opCases('block'))('reference $name', async (each) => {
    const { embed_dim, heads, window, shift, batch, hw_shapes: grids } = each.params;
    const x = reshaped(tensors.get(`${each.name}/x`), [batch, tokens(grids), embed_dim]);
    const kind = shift === 0 ? ('plain' as const) : ('shifted' as const);
    expect(shift).toBe(kind === 'plain' ? 0 : Math.floor(window / 2));
    const build = (compute: ComputeType) =>
      runOne(
        { x },
        (graph, v) => block(graph, 'b', v.x!, { kind, heads, window, mlpRatio: 4, rope, grids, compute }),
        {
          constants: caseWeights(tensors, each, 'b.'),
        },
      );
    const want = tensors.get(`${each.name}/out`).data;
    expectClose((await build('f32')).data, want, each.fp32_vs_fp64.out!);
    expectWithin((await build('bf16')).data, want, { relL2: BF16_MODEL }, 'values in bf16');
  });
});

describe('cycle-scan block', async () => {
  const tensors = await HostTensors.load('ops/mamba.safetensors');

  it.each(opCases('mamba'))('reference $name', async (each) => {
    const { embed_dim, state_dim: stateDim, extend_ratio: cycles, batch, tokens: count, split } = each.params;
    const x = reshaped(tensors.get(`${each.name}/x`), [batch, count, embed_dim]);
    const segments = split ?? [count];
    const build = (compute: ComputeType) =>
      runOne({ x }, (graph, v) => cycleScanBlock(graph, 'm', v.x!, { stateDim, cycles, segments, compute }), {
        constants: caseWeights(tensors, each, 'm.'),
      });
    const want = tensors.get(`${each.name}/out`).data;
    expectClose((await build('f32')).data, want, each.fp32_vs_fp64.out!);
    expectWithin((await build('bf16')).data, want, { relL2: BF16_MODEL }, 'values in bf16');
  });
});

describe('fusion of the stages', async () => {
  const single = await HostTensors.load('ops/fuse.safetensors');
  const multiple = await HostTensors.load('ops/multi_scale_fusion.safetensors');

  it.each(opCases('fuse'))('one scale: reference $name', async (each) => {
    const taps = Object.fromEntries(each.inputs.map((tap) => [tap, single.get(`${each.name}/${tap}`)]));
    const outDim = each.params.final_embed_dim;
    const y = await runOne(
      taps,
      (graph, { tap0, tap1 }) =>
        outputLayer(
          graph,
          add(graph, lateral(graph, 0, tap0!, outDim, 'f32'), lateral(graph, 1, tap1!, outDim, 'f32')),
        ),
      { constants: caseWeights(single, each) },
    );
    expectClose(channelsFirst(y).data, single.get(`${each.name}/out`).data, each.fp32_vs_fp64.out!);
  });

  it.each(opCases('multi_scale_fusion'))('several scales: reference $name', async (each) => {
    const taps = Object.fromEntries(each.inputs.map((tap) => [tap, multiple.get(`${each.name}/${tap}`)]));
    const { final_embed_dim: outDim, hw_shapes: grids } = each.params;
    const { out, ...fused } = await run(
      taps,
      (graph, { tap0, tap1 }) => {
        const [fused0, fused1] = [tap0!, tap1!].map((tap, stage) => fuseScales(graph, stage, tap, grids));
        const sum = add(
          graph,
          lateral(graph, 0, fused0!, outDim, 'f32'),
          lateral(graph, 1, fused1!, outDim, 'f32'),
        );
        return { fused0: fused0!, fused1: fused1!, out: outputLayer(graph, sum) };
      },
      { constants: caseWeights(multiple, each) },
    );
    for (const [name, value] of Object.entries({ ...fused, out: channelsFirst(out!) })) {
      expectClose(value.data, multiple.get(`${each.name}/${name}`).data, each.fp32_vs_fp64[name]!, name);
    }
  });
});
