import { afterAll, describe, expect, it } from 'vitest';
import { BRANCH_SCALES, dropRates } from '../../lib/model/drop_path.js';
import { Owned } from '../../lib/runtime/owned.js';
import type { Tensors } from '../../lib/runtime/program.js';
import { drawnScales } from '../../lib/train/dropped_branches.js';
import { gradientProgram } from '../../lib/train/gradient_program.js';
import { initialValues } from '../../lib/train/initial.js';
import { ParameterLayout } from '../../lib/train/layout.js';
import { distillationLoss } from '../../lib/train/losses.js';
import { FixedTensors, modelTensors } from '../../lib/train/parameters.js';
import { initialState } from '../../lib/train/trainer.js';
import type { HrsamConfig } from '../../lib/weights/config.js';
import { type PresetName, presetConfig } from '../../lib/weights/presets.js';
import { values } from '../gradient/support/check.js';
import { expectWithin } from '../support/compare.js';
import { device } from '../support/run.js';

const owned = new Owned();
afterAll(() => owned[Symbol.dispose]());

const sum = (list: readonly number[]) => list.reduce((total, value) => total + value, 0);

describe('dropRates', () => {
  it('grows linearly with the depth, cycle scans with the blocks they belong to', () => {
    expect(dropRates(presetConfig('hrsam-tiny'), 0.3)).toEqual(
      [0, 0, 0.1, 0.1, 0.1, 0.2, 0.2, 0.3, 0.3, 0.3].map((rate) => expect.closeTo(rate, 12)),
    );
    expect(dropRates(presetConfig('hrsam++-tiny'), 0.3)).toHaveLength(16);
    expect(dropRates(presetConfig('sam-tiny'), 0.3)).toHaveLength(8);
    const { encoder } = presetConfig('hrsam++-tiny') as HrsamConfig;
    expect(dropRates({ encoder: { ...encoder, cycles: 0 } }, 0.3)).toHaveLength(8);
    expect(dropRates(presetConfig('hrsam-b'), 0)).toEqual(Array.from({ length: 28 }, () => 0));
  });
});

describe('drawnScales', () => {
  const config = presetConfig('hrsam-tiny');
  it('follows from seed and index, drops as often as asked and keeps the mean', () => {
    const options = { dropPath: 0.4, seed: 3, batch: 4 };
    expect(drawnScales(config, options, 5)).toEqual(drawnScales(config, options, 5));
    expect(drawnScales(config, options, 5)).not.toEqual(drawnScales(config, options, 6));
    const drawn = Array.from({ length: 500 }, (_, i) => [...drawnScales(config, options, i)]);
    dropRates(config, 0.4).forEach((rate, branch) => {
      const own = drawn.flatMap((scales) => scales.slice(4 * branch, 4 * branch + 4));
      expect(own.filter((scale) => scale === 0).length / own.length).toBeCloseTo(rate, 1);
      expect(new Set(own.filter((scale) => scale > 0)).size).toBe(1);
      expect(sum(own) / own.length).toBeCloseTo(1, 1);
    });
  });
});

/** Embeddings and gradients of two samples whose branches count so much. */
async function run(preset: PresetName, dropPath: boolean, scale: (branch: number, sample: number) => number) {
  const config = presetConfig(preset);
  const { trained, fixed } = modelTensors(config, ['encoder']);
  const layout = new ParameterLayout(trained);
  const begin = initialValues(1);
  const side = preset.startsWith('sam') ? 224 : 64;
  const loss = distillationLoss(config, { batch: 2, height: side, width: side }, 'f32');
  const constants = owned.add(new FixedTensors(device, fixed, begin));
  using program = await gradientProgram(
    device,
    layout,
    (graph) => ({ ...loss(graph), outputs: { embedding: graph.marks.get('embedding')! } }),
    constants,
    { dropPath },
  );
  const state = initialState(layout, begin);
  const branches = dropRates(config, 0).length;
  const given: Record<string, Float32Array> = {
    state,
    accumulated: new Float32Array(layout.size),
    weights: new Float32Array(2).fill(1),
    [BRANCH_SCALES]: Float32Array.from({ length: 2 * branches }, (_, i) => scale(i >> 1, i % 2)),
  };
  using held = new Owned();
  const inputs: Tensors = {};
  for (const { name, shape } of program.plan.inputs)
    inputs[name] = held.add(device.tensor(shape, 'f32', given[name] ?? values(name, shape).data));
  const outputs = await program.run(inputs);
  const read = async (name: string) => {
    using tensor = outputs[name]!;
    return Float32Array.from((await tensor.data()) as Float32Array);
  };
  return {
    embedding: await read('embedding'),
    gradient: await read('gradient'),
    loss: await read('loss'),
    layout,
  };
}

describe.each(['hrsam-tiny', 'hrsam++-tiny', 'sam-tiny'] as const)('drop path in %s', (preset) => {
  it('changes nothing when no branch is left out', async () => {
    const plain = await run(preset, false, () => 1);
    const all = await run(preset, true, () => 1);
    expectWithin(all.embedding, plain.embedding, { relL2: 1e-5 }, 'embedding');
    expectWithin(all.gradient, plain.gradient, { relL2: 1e-4 }, 'gradient');
  });

  it('leaves branches out sample by sample', async () => {
    const all = await run(preset, true, () => 1);
    const first = await run(preset, true, (_, sample) => sample);
    const half = all.embedding.length / 2;
    const of = ({ embedding }: typeof all, sample: number) =>
      embedding.subarray(half * sample, half * (sample + 1));
    expectWithin(of(first, 1), of(all, 1), { relL2: 1e-6 }, 'the other sample');
    expect(of(first, 0)).not.toEqual(of(all, 0));
  });

  it('gives no gradient to a block that is left out for all', async () => {
    const { gradient, layout } = await run(preset, true, () => 0);
    const largest = (pattern: RegExp) =>
      layout.parameters.flatMap(({ name }, i) =>
        pattern.test(name)
          ? [
              gradient
                .subarray(layout.offsets[i]!, layout.offsets[i + 1])
                .reduce((a, b) => Math.max(a, Math.abs(b)), 0),
            ]
          : [],
      );
    expect(Math.max(...largest(/blocks\./))).toBe(0);
    expect(Math.max(...largest(/patch_embed/))).toBeGreaterThan(0);
  });
});
