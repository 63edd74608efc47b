import { readFileSync } from 'node:fs';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { ImageSource } from '../../lib/image/decode.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import type { EncodedImage, SegmentRequest } from '../../lib/predictor/image.js';
import { codeOf, errorOf } from '../support/errors.js';
import { photograph } from '../support/files.js';
import { heldBytes } from '../support/memory.js';
import { testPicture } from '../support/pictures.js';

const jpeg = readFileSync(photograph);

let model: HRSAM;
let image: EncodedImage;
beforeAll(async () => {
  model = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
  image = await model.encode(testPicture(120, 80));
});
afterAll(() => model.dispose());

/** What went wrong must not stay: the next request is answered, and nothing is left behind. */
async function leavesNoTrace(run: () => Promise<unknown>) {
  const before = await heldBytes();
  await run();
  expect(await heldBytes()).toBe(before);
  const [mask] = await image.segment({ points: [[60, 40]] });
  expect(mask!.width).toBe(120);
}

describe('models', () => {
  it.each(['random:', 'random:nothing', 'random:hrsam-tiny '])('refuses the preset %j', async (name) => {
    expect(await codeOf(() => HRSAM.load(name, { device: 'cpu' }))).toBe('ERR_CONFIG');
  });

  it('names a file that is not there', async () => {
    const error = await errorOf(() => HRSAM.load('/nowhere/weights.safetensors', { device: 'cpu' }));
    expect(error.code).toBe('ERR_FILE');
    expect(error.message).toContain('/nowhere/weights.safetensors');
  });

  it('refuses options it does not know', async () => {
    const load = (options: object) => codeOf(() => HRSAM.load('random:hrsam-tiny', options));
    expect(await load({ device: 'tpu' })).toBe('ERR_DEVICE');
    expect(await load({ device: 'cpu', dtype: 'f16' })).toBe('ERR_ARGUMENT');
    expect(await load({ device: 'cpu', threads: 0 })).toBe('ERR_ARGUMENT');
  });
});

describe('pictures', () => {
  const text = Buffer.from('not a picture at all, only text');
  const svg = Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="10" height="10"/>');
  /** A PNG whose header claims 100,000 × 100,000 pixels. */
  const absurd = async () => {
    const png = await sharp({ create: { width: 8, height: 8, channels: 3, background: '#fff' } })
      .png()
      .toBuffer();
    png.writeUInt32BE(100_000, 16);
    png.writeUInt32BE(100_000, 20);
    return png;
  };

  it.each<[string, () => Promise<ImageSource> | ImageSource]>([
    ['empty', () => new Uint8Array(0)],
    ['text', () => text],
    ['a drawing', () => svg],
    ['cut in half', () => jpeg.subarray(0, jpeg.length / 2)],
    ['cut in its header', () => jpeg.subarray(0, 20)],
    ['absurdly large', absurd],
    ['pixels that are too few', () => ({ data: new Uint8Array(10), width: 4, height: 4, channels: 3 })],
    ['of no pixels', () => ({ data: new Uint8Array(0), width: 0, height: 4, channels: 3 })],
    ['of five channels', () => ({ data: new Uint8Array(80), width: 4, height: 4, channels: 5 as 3 })],
    ['of NaN pixels', () => ({ data: new Uint8Array(48), width: Number.NaN, height: 4, channels: 3 })],
  ])('%s end in ERR_IMAGE', async (_, make) => {
    const picture = await make();
    await leavesNoTrace(async () => expect(await codeOf(() => model.encode(picture))).toBe('ERR_IMAGE'));
  });

  it.each([null, undefined, 7, {}, []])('of type %j end in ERR_ARGUMENT', async (picture) => {
    expect(await codeOf(() => model.encode(picture as never))).toBe('ERR_ARGUMENT');
  });

  it('spoil a batch as a whole, and leave nothing', async () => {
    await leavesNoTrace(async () => {
      expect(await codeOf(() => model.encodeBatch([testPicture(32, 32), text, testPicture(16, 8)]))).toBe(
        'ERR_IMAGE',
      );
      expect(await codeOf(() => model.encodeBatch([]))).toBe('ERR_ARGUMENT');
    });
  });

  it.each([0, -16, 15, 100, 16.5, Number.NaN, Number.POSITIVE_INFINITY, 65536, '256'])(
    'are not encoded at size %j',
    async (size) => {
      expect(await codeOf(() => model.encode(testPicture(32, 32), { size: size as number }))).toBe(
        'ERR_ARGUMENT',
      );
    },
  );
});

describe('prompts', () => {
  const logits = (height: number, width: number, value = 0) => ({
    data: new Float32Array(height * width).fill(value),
    height,
    width,
  });

  it.each<[string, object]>([
    ['nothing', {}],
    ['no points', { points: [] }],
    ['NaN', { points: [[Number.NaN, 3]] }],
    ['infinity', { points: [[3, Number.POSITIVE_INFINITY]] }],
    ['left of the picture', { points: [[-1, 3]] }],
    ['below the picture', { points: [[3, 81]] }],
    ['a point of three numbers', { points: [[1, 2, 3]] }],
    ['a point that is none', { points: [7] }],
    ['points that are none', { points: 'here' }],
    [
      'a label too few',
      {
        points: [
          [1, 2],
          [3, 4],
        ],
        labels: [1],
      },
    ],
    ['labels without points', { labels: [1], box: [1, 1, 5, 5] }],
    ['an unknown label', { points: [[1, 2]], labels: [5] }],
    ['a box of three numbers', { box: [1, 2, 3] }],
    ['a box with swapped corners', { box: [50, 10, 20, 30] }],
    ['a box of NaN', { box: [1, Number.NaN, 5, 5] }],
    ['a box beyond the picture', { box: [1, 1, 121, 5] }],
    ['boxes and points', { boxes: [[1, 1, 5, 5]], points: [[1, 1]] }],
    [
      'one bad box of many',
      {
        boxes: [
          [1, 1, 5, 5],
          [0, 0, 500, 5],
        ],
      },
    ],
    ['no boxes', { boxes: [] }],
    ['boxes that are none', { boxes: 3 }],
    ['a mask of the wrong length', { mask: { data: new Float32Array(10), height: 64, width: 64 } }],
    ['a mask of NaN', { mask: logits(64, 64, Number.NaN) }],
    ['a mask that is none', { mask: 'yes' }],
  ])('%s ends in ERR_PROMPT', async (_, request) => {
    await leavesNoTrace(async () =>
      expect(await codeOf(() => image.segment(request as SegmentRequest))).toBe('ERR_PROMPT'),
    );
  });

  it('come with a choice of masks that is known', async () => {
    const request = { points: [[1, 1]], multimask: 'all' } as unknown as SegmentRequest;
    expect(await codeOf(() => image.segment(request))).toBe('ERR_ARGUMENT');
  });

  it('may lie on the edge of the picture', async () => {
    const masks = await image.segment([
      { points: [[0, 0]] },
      { points: [[120, 80]] },
      { box: [0, 0, 120, 80] },
    ]);
    expect(masks.map((list) => list.length)).toEqual([1, 1, 1]);
  });

  it('are refused as a whole before anything is decoded, and say which', async () => {
    const error = await errorOf(() =>
      image.segment([
        { points: [[1, 1]] },
        {
          points: [
            [1, 1],
            [500, 1],
          ],
        },
      ]),
    );
    expect(error.code).toBe('ERR_PROMPT');
    expect(error.message).toContain('prompts[1].points[1]');
    expect(await codeOf(() => image.segment([]))).toBe('ERR_PROMPT');
    expect(await codeOf(() => image.segment(null as never))).toBe('ERR_PROMPT');
  });

  it('that a session refuses are not taken', async () => {
    const session = image.session();
    const first = await session.click(10, 10);
    expect(await codeOf(() => session.click(-4, 10))).toBe('ERR_PROMPT');
    expect(session.clicks.length).toBe(1);
    expect(session.mask).toBe(first);
  });
});

describe('what was disposed', () => {
  it('answers with ERR_DISPOSED, and may be disposed again', async () => {
    const other = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
    const encoded = await other.encode(testPicture(20, 20));
    const session = encoded.session();
    encoded.dispose();
    encoded.dispose();
    expect(encoded.disposed).toBe(true);
    expect(await codeOf(() => encoded.segment({ points: [[1, 1]] }))).toBe('ERR_DISPOSED');
    expect(await codeOf(() => session.click(1, 1))).toBe('ERR_DISPOSED');
    const alive = await other.encode(testPicture(20, 20));
    other.dispose();
    other.dispose();
    expect(await codeOf(() => other.encode(testPicture(20, 20)))).toBe('ERR_DISPOSED');
    expect(await codeOf(() => alive.segment({ points: [[1, 1]] }))).toBe('ERR_DISPOSED');
    alive.dispose();
  });

  it('ends work under way with a result or ERR_DISPOSED, and frees everything', async () => {
    const before = { buffers: await heldBytes(), packed: model.device.memory().packed };
    const other = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
    const encoded = await other.encode(testPicture(20, 20));
    const requests = Array.from({ length: 6 }, (_, i) =>
      other.encode(testPicture(40, 20), { size: i % 2 ? 512 : 256 }),
    );
    setTimeout(() => {
      encoded.dispose();
      other.dispose();
    }, 15);
    for (const result of await Promise.allSettled(requests)) {
      if (result.status === 'rejected') expect(result.reason.code).toBe('ERR_DISPOSED');
      else result.value.dispose();
    }
    expect(await heldBytes()).toBe(before.buffers);
    expect(model.device.memory().packed).toBe(before.packed);
  });
});
