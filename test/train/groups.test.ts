import { describe, expect, it } from 'vitest';
import { layerDecayGroups, uniformGroups } from '../../lib/train/groups.js';
import { learningRate } from '../../lib/train/schedule.js';
import { configFromAuthors } from '../../lib/weights/authors.js';
import { expectedTensors } from '../../lib/weights/expected.js';
import { fixture, readJson } from '../support/reference.js';

const OPTIMIZER = 'grads/optimizer.json';

describe.runIf(fixture(OPTIMIZER))('parameter groups of the published code', () => {
  const { configs } = readJson(OPTIMIZER);
  const manifest = readJson('manifest.json').configs;

  it.each(Object.keys(configs).filter((name) => manifest[name]))('%s', (name) => {
    const config = configFromAuthors(manifest[name]);
    const parameters = expectedTensors(config, ['encoder']).filter(({ optional }) => !optional);
    const { depth } = config.encoder;
    const groups = layerDecayGroups(parameters, { weightDecay: 0.05, layerDecay: 0.9, depth });
    const actual = Object.fromEntries(
      parameters.map((p, i) => [p.name, [groups[i]!.rate, groups[i]!.decay]]),
    );
    for (const [parameter, [rate, decay]] of Object.entries<[number, number]>(configs[name])) {
      expect(actual[parameter]?.[0], parameter).toBeCloseTo(rate, 12);
      expect(actual[parameter]?.[1], parameter).toBe(decay);
    }
    expect(Object.keys(actual).sort()).toEqual(Object.keys(configs[name]).sort());
  });
});

describe('uniformGroups', () => {
  it('treats norms and biases like everything else', () => {
    expect(uniformGroups([{ name: 'a.bias', shape: [3] }], 0.05)).toEqual([
      { length: 3, rate: 1, decay: 0.05 },
    ]);
  });
});

describe('learningRate', () => {
  const schedule = { peak: 1e-4, warmup: 1500, steps: 40_000 };

  it.each([
    [0, 1e-10],
    [750, 1e-4 * (1e-6 + (1 - 1e-6) / 2)],
    [1500, 1e-4],
    [20_750, 0.5e-4],
    [40_000, 0],
    [50_000, 0],
  ])('at step %i', (step, rate) => {
    expect(learningRate(step, schedule)).toBeCloseTo(rate, 15);
  });
});
