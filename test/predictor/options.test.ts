import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
  convert,
  Device,
  decodeImage,
  type EncodedImage,
  evaluate,
  HRSAM,
  type Mask,
  ops,
  type Pixels,
  program,
  renderOverlay,
} from '../../lib/index.js';
import { errorOf } from '../support/errors.js';

let model: HRSAM;
let image: EncodedImage;
let mask: Mask;
const device = Device.open('cpu');
const tensor = device.tensor([1], 'f32', new Float32Array(1));
const picture: Pixels = { data: new Uint8Array(3 * 16 * 16), width: 16, height: 16, channels: 3 };

beforeAll(async () => {
  model = await HRSAM.load('random:hrsam-tiny', { device });
  image = await model.encode(picture, { size: 64 });
  [mask] = (await image.segment({ points: [[8, 8]] })) as [Mask];
});

afterAll(() => {
  for (const one of [image, model, tensor]) one.dispose();
});

/** As it comes from callers without a compiler. */
type Any = never;

const calls: Record<string, (options: Any) => unknown> = {
  load: (options) => HRSAM.load('random:hrsam-tiny', options),
  encode: (options) => model.encode(picture, options),
  encodeBatch: (options) => model.encodeBatch([picture], options),
  segment: (options) => image.segment([{ points: [[8, 8]] }], options),
  everything: (options) => image.everything(options),
  click: (options) => image.session().click(8, 8, 1, options),
  decodeImage: (options) => decodeImage(picture, options),
  renderOverlay: (options) => renderOverlay(picture, options),
  toPng: (options) => mask.toPng(options),
  polygons: (options) => mask.polygons(options),
  convert: (options) => convert('random.safetensors', join(tmpdir(), 'never'), options),
  evaluate: (options) => evaluate({ tensor }, (_, values) => values, options),
  program: (options) => program(device, { tensor }, (_, values) => values, options),
  run: async (options) => {
    const compiled = await program(device, { tensor }, (graph, values) => ({
      sum: ops.add(graph, values.tensor!, values.tensor!),
    }));
    try {
      return await compiled.run({ tensor }, options);
    } finally {
      compiled.dispose();
    }
  },
};

describe.each(Object.keys(calls))('%s', (name) => {
  it.each([
    ['an option there is not', { sise: 64 }, 'an unknown option'],
    ['what every object has', { constructor: 1 }, 'an unknown option'],
    ['null', null, 'null'],
    ['a number', 64, '64'],
    ['a list', [], 'options'],
  ])('refuses %s', async (_, options, text) => {
    const error = await errorOf(async () => calls[name]!(options as Any));
    expect(error.code).toBe('ERR_ARGUMENT');
    expect(error.message).toContain(text);
    expect(error.message).not.toContain('divisor'); // internal
  });
});

it.each<[string, (wrong: Any) => unknown]>([
  ['onProgress of load', (wrong) => calls.load!({ device, onProgress: wrong } as Any)],
  ['onProgress of everything', (wrong) => image.everything({ onProgress: wrong })],
  ['onProgress of convert', (wrong) => calls.convert!({ onProgress: wrong } as Any)],
  ['build of evaluate', (wrong) => evaluate({ tensor }, wrong)],
  ['constants of evaluate', (wrong) => calls.evaluate!({ constants: wrong } as Any)],
  ['constants of program', (wrong) => calls.program!({ constants: wrong } as Any)],
])('refuses as %s what is none', async (_, call) => {
  for (const wrong of [5, null, 'x'])
    expect((await errorOf(async () => call(wrong as Any))).code).toBe('ERR_ARGUMENT');
});

it('refuses a hole among pictures', async () => {
  const pictures = Object.assign(new Array<Pixels>(2), { 1: picture });
  expect((await errorOf(() => model.encodeBatch(pictures))).code).toBe('ERR_ARGUMENT');
});

it('says what options there are', async () => {
  const { message } = await errorOf(() => model.encode(picture, { sise: 64 } as Any));
  expect(message).toMatch(/encode.*size, .*signal.*sise/s);
});
