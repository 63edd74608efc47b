import { afterAll, expect, it } from 'vitest';
import { Device } from '../../lib/runtime/device.js';
import { Owned } from '../../lib/runtime/owned.js';
import type { Tensors } from '../../lib/runtime/program.js';
import { gradientHalf, gradientProgram } from '../../lib/train/gradient_program.js';
import { initialValues } from '../../lib/train/initial.js';
import { ParameterLayout } from '../../lib/train/layout.js';
import { clickLoss } from '../../lib/train/losses.js';
import { FixedTensors, modelTensors } from '../../lib/train/parameters.js';
import { initialState } from '../../lib/train/trainer.js';
import { presetConfig } from '../../lib/weights/presets.js';
import { values } from '../gradient/support/check.js';

const device = Device.open('cpu');
const owned = new Owned();
afterAll(() => owned[Symbol.dispose]());

it.each(['hrsam-tiny', 'hrsam++-tiny'])('%s: two halves make the bytes of the whole', async (preset) => {
  const config = presetConfig(preset);
  const { trained, fixed } = modelTensors(config);
  const layout = new ParameterLayout(trained);
  const begin = initialValues(1);
  const constants = owned.add(new FixedTensors(device, fixed, begin));
  const state = owned.add(device.tensor([4, layout.size], 'f32', initialState(layout, begin)));
  const [batch, size, tokens, steps] = [2, 128, 3, 2];
  const shape = { batch, height: size, width: size, tokens, objects: 2, steps };
  const loss = clickLoss(config, shape, 'bf16');
  const whole = owned.add(await gradientProgram(device, layout, loss, constants));
  const inputs: Tensors = { state };
  for (const { name, shape: wanted, dtype } of whole.plan.inputs) {
    if (name === 'state') continue;
    const count = wanted.reduce((product, side) => product * side, 1);
    const made = values(name, [count]).data.map((value) =>
      name === 'points'
        ? Math.abs(value) * size
        : name === 'lengths'
          ? 5 + tokens
          : /labels$/.test(name)
            ? Number(value > 0)
            : value,
    );
    const data = dtype === 'i32' ? Int32Array.from(made) : Float32Array.from(made);
    inputs[name] = owned.add(device.tensor(wanted, dtype, data));
  }
  const expected = await whole.run(inputs);
  const first = owned.add(await gradientHalf('first', device, layout, loss, constants));
  const second = owned.add(await gradientHalf('second', device, layout, loss, constants));
  expect(first.plan.inputs.map(({ name }) => name).sort()).toEqual(['image', 'state']);
  const kept = await first.run(inputs);
  const { image: _, ...rest } = inputs;
  const found = await second.run({ ...rest, ...kept });
  for (const name of ['loss', 'gradient'])
    expect(await found[name]!.data()).toEqual(await expected[name]!.data());
  expect(((await expected.gradient!.data()) as Float32Array).some((value) => value > 0)).toBe(true);
  for (const tensors of [expected, kept, found])
    for (const tensor of Object.values(tensors)) owned.add(tensor);
});
