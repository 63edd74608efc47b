import { afterAll, describe, expect, it } from 'vitest';
import { Owned } from '../../lib/runtime/owned.js';
import type { Program, Tensors } from '../../lib/runtime/program.js';
import {
  gradientHalf,
  gradientProgram,
  type TrainingGraphOptions,
} from '../../lib/train/gradient_program.js';
import { initialValues } from '../../lib/train/initial.js';
import { ParameterLayout } from '../../lib/train/layout.js';
import { distillationLoss } from '../../lib/train/losses.js';
import { FixedTensors, modelTensors } from '../../lib/train/parameters.js';
import { initialState } from '../../lib/train/trainer.js';
import { type PresetName, presetConfig } from '../../lib/weights/presets.js';
import { device } from '../support/run.js';
import { values } from './support/check.js';

const owned = new Owned();
afterAll(() => owned[Symbol.dispose]());

function setting(preset: PresetName, compute: 'f32' | 'bf16') {
  const config = presetConfig(preset);
  const { trained, fixed } = modelTensors(config, ['encoder']);
  const layout = new ParameterLayout(trained);
  const begin = initialValues(1);
  const side = preset.startsWith('sam') ? 224 : 128;
  const loss = distillationLoss(config, { batch: 2, height: side, width: side }, compute);
  const constants = owned.add(new FixedTensors(device, fixed, begin));
  const state = initialState(layout, begin);
  const compile = async (options: TrainingGraphOptions) =>
    owned.add(await gradientProgram(device, layout, loss, constants, { dropPath: true, ...options }));
  const inputs = ({ plan }: Program): Tensors =>
    Object.fromEntries(
      plan.inputs.map(({ name, shape }) => {
        const data = name === 'state' ? state : values(name, shape).data;
        return [name, owned.add(device.tensor(shape, 'f32', data))];
      }),
    );
  return { layout, loss, constants, compile, inputs };
}

describe.each([
  ['hrsam-tiny', 'f32'],
  ['hrsam-tiny', 'bf16'],
  ['hrsam++-tiny', 'f32'],
  ['sam-tiny', 'f32'],
] as const)('recomputation in %s, %s', (preset, compute) => {
  it('gives the same bytes with less memory', async () => {
    const { compile, inputs } = setting(preset, compute);
    const [kept, again] = [await compile({}), await compile({ recompute: true })];
    const given = inputs(kept);
    const [expected, found] = [await kept.run(given), await again.run(given)];
    for (const name of ['loss', 'gradient'])
      expect(await found[name]!.data()).toEqual(await expected[name]!.data());
    expect(again.plan.arenaBytes).toBeLessThan(0.9 * kept.plan.arenaBytes);
    expect(again.plan.flops).toBeLessThan(1.4 * kept.plan.flops);
    expect(again.plan.flops).toBeGreaterThan(1.1 * kept.plan.flops);
    for (const tensor of [...Object.values(expected), ...Object.values(found)]) tensor.dispose();
  });
});

it('goes together with halves, which then have little to hand over', async () => {
  const { layout, loss, constants, compile, inputs } = setting('hrsam-tiny', 'f32');
  const whole = await compile({});
  const given = inputs(whole);
  const halved = (graph: Parameters<typeof loss>[0]) => {
    const built = loss(graph);
    return { ...built, embedding: graph.marks.get('embedding')! };
  };
  const half = async (which: 'first' | 'second', recompute: boolean) =>
    owned.add(await gradientHalf(which, device, layout, halved, constants, { dropPath: true, recompute }));
  const [first, second] = [await half('first', true), await half('second', true)];
  const kept = await first.run(given);
  const { image: _, ...rest } = given;
  const [expected, found] = [await whole.run(given), await second.run({ ...rest, ...kept })];
  expect(await found.gradient!.data()).toEqual(await expected.gradient!.data());
  const handed = ({ plan }: Program) =>
    plan.outputs.reduce((sum, { shape }) => sum + shape.reduce((product, side) => product * side, 1), 0);
  expect(handed(first)).toBeLessThan(handed(await half('first', false)) / 3);
  for (const tensors of [kept, expected, found])
    for (const tensor of Object.values(tensors)) tensor.dispose();
});
