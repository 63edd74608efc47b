import { afterAll, describe, expect, it } from 'vitest';
import { preprocess } from '../../lib/graph/ops/preprocess.js';
import { preprocessOptions } from '../../lib/predictor/network.js';
import { Device } from '../../lib/runtime/device.js';
import { Owned } from '../../lib/runtime/owned.js';
import { ClickTask, type ClickTaskOptions } from '../../lib/train/click_task.js';
import { initialValues } from '../../lib/train/initial.js';
import { ParameterLayout } from '../../lib/train/layout.js';
import { normalised } from '../../lib/train/normalise.js';
import { FixedTensors, modelTensors } from '../../lib/train/parameters.js';
import { Replica } from '../../lib/train/replica.js';
import type { Sample } from '../../lib/train/samples/mixture.js';
import { initialState } from '../../lib/train/trainer.js';
import { presetConfig } from '../../lib/weights/presets.js';
import { expectWithin } from '../support/compare.js';
import { host, runOne } from '../support/run.js';

const SIZE = 64;

/** A square on noise, in a picture of size × 48. */
async function sample(index: number, size = SIZE): Promise<Sample> {
  const [width, height] = [size, 48];
  const image = { data: new Uint8Array(3 * size * size), width: size, height: size, channels: 3 as const };
  const mask = new Uint8Array(size * size);
  for (let y = 0; y < size; y++)
    for (let x = 0; x < size; x++) {
      const at = y * size + x;
      const inside = x >= 12 && x < 40 && y >= 10 && y < 36;
      mask[at] = y >= height ? 255 : Number(inside);
      if (y < height)
        for (let c = 0; c < 3; c++)
          image.data[3 * at + c] = (at * (7 + index) + 83 * c + 90 * mask[at]!) % 256;
    }
  return { image, mask, others: [], width, height };
}

describe('ClickTask', () => {
  const device = Device.open('cpu');
  const owned = new Owned();
  afterAll(() => owned[Symbol.dispose]());
  const config = presetConfig('hrsam-tiny');
  const { trained, fixed } = modelTensors(config);
  const layout = new ParameterLayout(trained);
  const begin = initialValues(1);
  const state = initialState(layout, begin);
  const replica = owned.add(new Replica(device, layout, state));
  const constants = owned.add(new FixedTensors(device, fixed, begin));
  const options: ClickTaskOptions = {
    size: SIZE,
    batch: 2,
    seed: 1,
    objects: 1,
    clicks: 3,
    steps: 1,
    continueProbability: 1,
    refine: 0,
    box: 0,
    innerK: 3,
    dropPath: 0,
    focal: undefined,
    compute: 'f32',
    recompute: false,
  };
  const learned = async (change: Partial<ClickTaskOptions>) => {
    const task = owned.add(new ClickTask(replica, config, constants, sample, { ...options, ...change }));
    using made = await task.batch(await task.prepare(0), 0);
    const accumulated = owned.add(device.tensor([layout.size], 'f32'));
    const loss = await replica.backward(made.batch, accumulated);
    expect(Number.isFinite(loss)).toBe(true);
    const { lengths, mask, chosen } = made.batch.inputs;
    const ownTokens = 2 + config.decoder.multimaskOutputs;
    const tokens = [...((await lengths!.data()) as Int32Array)].map((length) => length - ownTokens);
    return { tokens, mask: mask?.shape, alternatives: chosen !== undefined };
  };

  it('learns one prompt of an object as HRSAM does: the last, with the mask before it', async () => {
    // Three clicks and the point that stands for no box.
    expect(await learned({})).toEqual({ tokens: [4, 4], mask: [2, 16, 16], alternatives: false });
    expect(await learned({ continueProbability: 0 })).toEqual({
      tokens: [2, 2],
      mask: undefined,
      alternatives: true,
    });
  });

  it('learns several: the first and others', async () => {
    const { tokens, mask, alternatives } = await learned({ steps: 2 });
    expect([mask, alternatives]).toEqual([[2, 16, 16], true]);
    expect(tokens.slice(0, 2)).toEqual([2, 2]);
    expect([3, 4]).toContain(tokens[2]);
    expect(tokens[3]).toBe(tokens[2]);
  });

  it('makes micro-batches of several sizes, each as often as is said', async () => {
    const multiScale = { 96: 0.3, 128: 0.2 };
    const sized = (change: Partial<ClickTaskOptions>) =>
      owned.add(new ClickTask(replica, config, constants, sample, { ...options, multiScale, ...change }));
    const sizes = async (change: Partial<ClickTaskOptions> = {}) => {
      const prepared = await Promise.all([...Array(60).keys()].map((k) => sized(change).prepare(k)));
      return prepared.map(({ size }) => size);
    };
    const drawn = await sizes();
    expect(await sizes()).toEqual(drawn);
    expect(await sizes({ seed: 2 })).not.toEqual(drawn);
    const share = (size: number) => drawn.filter((one) => one === size).length / drawn.length;
    for (const [size, wanted] of [
      [SIZE, 0.5],
      [96, 0.3],
      [128, 0.2],
    ] as const)
      expect(Math.abs(share(size) - wanted), `${size}`).toBeLessThan(0.15);
    expect(new Set(await sizes({ multiScale: { 96: 0.3, 128: 0.7 } }))).toEqual(new Set([96, 128]));
    const task = sized({ continueProbability: 1 });
    // Each size for the first time, and again.
    for (const k of [...new Set(drawn), ...new Set(drawn)].map((size, i) =>
      i < 3 ? drawn.indexOf(size) : drawn.lastIndexOf(size),
    )) {
      const size = drawn[k]!;
      using made = await task.batch(await task.prepare(k), k);
      const { labels, mask } = made.batch.inputs;
      expect([labels!.shape, mask!.shape]).toEqual([
        [2, 1, size, size],
        [2, size / 4, size / 4],
      ]);
      const accumulated = owned.add(device.tensor([layout.size], 'f32'));
      expect(await replica.backward(made.batch, accumulated)).toSatisfy(Number.isFinite);
      const alone = owned.add(new ClickTask(replica, config, constants, sample, { ...options, size }));
      using same = await alone.batch(await alone.prepare(k), k);
      expect(await replica.backward(same.batch, accumulated)).toBe(
        await replica.backward(made.batch, accumulated),
      );
    }
  });
});

describe('normalised', () => {
  it.each(['rgb', 'bgr'] as const)(
    'gives a model on %s what it sees when it is used',
    async (channelOrder) => {
      const image = { ...presetConfig('hrsam-tiny').image, channelOrder };
      const made = await sample(0);
      const { width, height } = made;
      const options = preprocessOptions(image, {
        resized: { height, width },
        input: { height: SIZE, width: SIZE },
      });
      const pixels = host([height, width, 3], made.image.data.slice(0, 3 * width * height));
      const seen = await runOne({ pixels }, (graph, inputs) => preprocess(graph, inputs.pixels!, options), {
        dtype: 'u8',
      });
      expectWithin(normalised([made], image), seen.data, { relL2: 1e-6, maxAbs: 1e-6 });
    },
  );
});
