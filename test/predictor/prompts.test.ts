// Prompts come from users and requests: whatever is wrong with one ends in an error that says what and where.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EncodedImage } from '../../lib/predictor/image.js';
import type { Mask } from '../../lib/predictor/mask.js';
import { arrange } from '../../lib/predictor/prompt_tokens.js';
import { layOutPrompts, type Prompt } from '../../lib/predictor/prompts.js';
import { errorOf } from '../support/errors.js';
import { contents, picture, randomModel } from './support/models.js';

type Box = [number, number, number, number];

const SIZE = { height: 40, width: 60 };
/** Five tokens of its own. */
const DECODER = { multimaskOutputs: 3 };

describe('prompts as the decoder takes them', () => {
  const resized = { height: 80, width: 120 };

  it('scales points and appends a padding point where there is no box', () => {
    const prompts = [
      { points: [[10, 20]] as const },
      { points: [[10, 20]] as const, box: [0, 5, 60, 40] as const },
      { box: [0, 5, 60, 40] as const },
      {},
    ];
    const { count, tokens, points, labels, lengths } = layOutPrompts(prompts, SIZE, resized, DECODER);
    expect([count, tokens]).toEqual([4, 8]);
    expect([...lengths]).toEqual([7, 8, 7, 5]);
    const row = (p: number, n: number) => ({
      points: [...points.subarray(p * 16, p * 16 + 2 * n)],
      labels: [...labels.subarray(p * 8, p * 8 + n)],
    });
    expect(row(0, 2)).toEqual({ points: [20, 40, 0, 0], labels: [1, -1] });
    expect(row(1, 3)).toEqual({ points: [20, 40, 0, 10, 120, 80], labels: [1, 2, 3] });
    expect(row(2, 2)).toEqual({ points: [0, 10, 120, 80], labels: [2, 3] });
    expect(row(3, 8).labels).toEqual(new Array(8).fill(-1));
  });

  it('scales each axis on its own', () => {
    const { points } = layOutPrompts([{ points: [[10, 20]] }], SIZE, { height: 20, width: 90 }, DECODER);
    expect([...points.subarray(0, 2)]).toEqual([15, 10]);
  });

  it.each([
    [0, 8],
    [8, 8],
    [9, 16],
    [17, 24],
  ])('lays %i tokens out in %i', (length, tokens) => {
    const list = Array.from({ length }, (_, i) => ({ x: i, y: i, label: 1 }));
    expect(arrange([list], DECODER)).toMatchObject({ tokens, lengths: Int32Array.of(5 + length) });
  });
});

describe('prompts of other kinds of objects', () => {
  it('are read once, when they are given', async () => {
    const model = await randomModel('hrsam-tiny');
    using image = await model.encode(picture(40, 60), {
      size: 2 * model.config.image.size,
      coarseToFine: true,
    });
    const [points, labels, box] = [[[10, 20]], [1], [5, 5, 50, 30]] as [[number, number][], number[], Box];
    const prompt = { points, labels, box };
    const [expected] = await image.segment(structuredClone(prompt));
    for (const request of [prompt, [prompt]]) {
      const copy = structuredClone(prompt);
      const answer = image.segment(request as Prompt);
      Object.assign(points[0]!, [1e9]);
      labels[0] = 7;
      box[0] = Number.NaN;
      expect([await answer].flat(2).map(contents)).toEqual([contents(expected!)]);
      [points[0], labels[0], box[0]] = [copy.points[0]!, copy.labels[0]!, copy.box[0]];
    }
  });

  it('may have their fields from a class', async () => {
    class Clicked {
      get points() {
        return [[10, 20]] as const;
      }
    }
    using image = await (await randomModel('hrsam-tiny')).encode(picture(40, 60));
    const [expected] = await image.segment({ points: [[10, 20]] });
    const [alone] = await image.segment(new Clicked());
    const [[listed]] = (await image.segment([new Clicked()])) as [[Mask]];
    expect([alone!, listed].map(contents)).toEqual([expected!, expected!].map(contents));
  });
});

describe('bad prompts', () => {
  let image: EncodedImage;
  beforeAll(async () => {
    image = await (await randomModel('hrsam-tiny')).encode(picture(SIZE.height, SIZE.width));
  });
  afterAll(() => image?.dispose());

  const logits = (height: number, width: number, length = height * width) => ({
    data: new Float32Array(length),
    height,
    width,
  });
  // biome-ignore lint/suspicious/noExplicitAny: what a caller without types may pass
  const bad: [what: string, request: any, message: string | RegExp][] = [
    ['nothing', undefined, 'expected { points'],
    ['null', null, 'expected { points'],
    ['a number', 7, 'expected { points'],
    [
      'a misspelt option',
      { points: [[1, 1]], multiMask: true },
      'prompt: an unknown field; expected points, labels, box, boxes, mask, multimask, refinements, minRegion, signal; got multiMask',
    ],
    ['an empty prompt', {}, 'prompt: empty'],
    ['an empty list of points', { points: [] }, 'prompt: empty'],
    ['no prompts', [], 'no prompts'],
    ['null in a list', [null], 'prompts[0]: a prompt'],
    ['a hole in a list', new Array(1), 'prompts[0]: a prompt'],
    ['an empty prompt in a list', [{ points: [[1, 1]] }, {}], 'prompts[1]: empty'],
    ['points that are no list', { points: 'x' }, 'prompt.points'],
    ['null points', { points: null }, 'prompt.points'],
    ['a flat point', { points: [5, 5] }, 'prompt.points[0]: a point'],
    ['a hole among points', { points: new Array(2) }, 'prompt.points[0]: a point'],
    ['a point of three', { points: [[1, 2, 3]] }, 'prompt.points[0]: a point'],
    ['text for a number', { points: [['1', 2]] }, 'prompt.points[0]'],
    [
      'NaN',
      {
        points: [
          [1, 1],
          [Number.NaN, 2],
        ],
      },
      /points\[1\].*0 ≤ x ≤ 60, 0 ≤ y ≤ 40.*NaN/,
    ],
    ['infinity', { points: [[1, Number.POSITIVE_INFINITY]] }, 'points[0]: not a place in the picture'],
    ['a point left of the picture', { points: [[-0.5, 2]] }, 'points[0]: not a place'],
    ['a point below the picture', { points: [[5, 40.5]] }, 'points[0]: not a place'],
    ['labels without points', { labels: [1], box: [1, 1, 2, 2] }, 'prompt.labels: one label per point'],
    [
      'too few labels',
      {
        points: [
          [1, 1],
          [2, 2],
        ],
        labels: [1],
      },
      'prompt.labels',
    ],
    ['a label that is none', { points: [[1, 1]], labels: [2] }, 'prompt.labels[0]: a label'],
    ['a hole among labels', { points: [[1, 1]], labels: new Array(1) }, 'prompt.labels[0]: a label'],
    ['NaN for a label', { points: [[1, 1]], labels: [Number.NaN] }, 'prompt.labels[0]: a label'],
    ['a box of three', { box: [1, 2, 3] }, 'prompt.box: a box'],
    ['a null box', { box: null }, 'prompt.box: a box'],
    ['a box outside', { box: [1, 1, 61, 20] }, 'prompt.box: not a place'],
    ['NaN in a box', { box: [1, 1, 20, Number.NaN] }, 'prompt.box: not a place'],
    ['swapped corners', { box: [20, 1, 10, 20] }, 'prompt.box: its corners are swapped'],
    ['boxes that are no list', { boxes: 'x' }, 'boxes; expected a list'],
    ['no boxes', { boxes: [] }, 'no prompts'],
    ['null among boxes', { boxes: [[1, 1, 2, 2], null] }, 'boxes[1].box'],
    ['boxes and points', { boxes: [[1, 1, 2, 2]], points: [[1, 1]] }, 'prompts of their own'],
    ['boxes and labels', { boxes: [[1, 1, 2, 2]], labels: [1] }, 'prompts of their own'],
    ['a null mask', { mask: null }, 'prompt.mask: logits'],
    ['a mask without data', { mask: { height: 4, width: 4 } }, 'prompt.mask: logits'],
    ['a mask of bytes', { mask: { ...logits(4, 4), data: new Uint8Array(16) } }, 'a Float32Array'],
    ['a mask of the wrong length', { mask: logits(8, 8, 63) }, '63 for 8 × 8'],
    ['an empty mask', { mask: logits(0, 0) }, 'multiples of 4'],
    ['a mask of odd sides', { mask: logits(6, 8) }, 'multiples of 4'],
    ['a mask of negative sides', { mask: logits(-4, -4, 16) }, 'multiples of 4'],
    ['NaN in a mask', { mask: { ...logits(4, 4), data: new Float32Array(16).fill(Number.NaN) } }, 'finite'],
    ['too many prompts', new Array(2 ** 20 + 1).fill({ points: [[1, 1]] }), 'too many'],
    [
      'a prompt that is too long',
      { points: new Array(4097).fill([1, 1]) },
      /prompt\.points: too many; expected 4096.*got 4097/,
    ],
    ['too many points', { points: new Array(2 ** 20 + 1).fill([1, 1]) }, 'too many'],
    [
      'a long prompt among many',
      [{ points: new Array(2048).fill([1, 1]) }, ...new Array(1024).fill({ box: [1, 1, 2, 2] })],
      '1025 × 2048',
    ],
    ['masks of two sizes', [{ mask: logits(4, 4) }, { mask: logits(8, 8) }], 'masks of one call'],
  ];
  it.each(bad)('%s', async (_, request, message) => {
    const error = await errorOf(() => image.segment(request));
    expect(error.code).toBe('ERR_PROMPT');
    expect(error.message).toMatch(message);
  });

  it.each(['all', 3, null])('multimask %s', async (multimask) => {
    const request = { points: [[1, 1]], multimask } as unknown as Parameters<typeof image.segment>[0];
    const error = await errorOf(() => image.segment(request));
    expect(error.code).toBe('ERR_ARGUMENT');
    expect(error.message).toContain('multimask');
  });

  it.each([-1, 0.5, 9, '1', null])('refinements %s', async (refinements) => {
    const request = { points: [[1, 1]], refinements } as unknown as Parameters<typeof image.segment>[0];
    const error = await errorOf(() => image.segment(request));
    expect(error.code).toBe('ERR_ARGUMENT');
    expect(error.message).toContain('refinements; expected a whole number from 0 to 8');
  });

  it('and options of a single prompt beside it', async () => {
    const segment = image.segment.bind(image) as (prompt: object, options: object) => Promise<unknown>;
    const prompt = { points: [[1, 1]] };
    const error = await errorOf(() => segment(prompt, { multimask: true }));
    expect(error.code).toBe('ERR_ARGUMENT');
    await segment(prompt, { signal: undefined });
  });

  it('leave the picture usable', async () => {
    await errorOf(() => image.segment({ points: [[-1, 0]] }));
    expect(await image.segment({ points: [[1, 0]] })).toHaveLength(1);
  });
});
