import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { encodeRle } from '../../lib/image/rle.js';
import type { HRSAM } from '../../lib/predictor/hrsam.js';
import type { EncodedImage } from '../../lib/predictor/image.js';
import type { Mask } from '../../lib/predictor/mask.js';
import type { Prompt } from '../../lib/predictor/prompts.js';
import { errorOf } from '../support/errors.js';
import { heldBytes } from '../support/memory.js';
import { contents, fullLogits, picture, randomModel } from './support/models.js';

const [HEIGHT, WIDTH] = [90, 150];

describe.each(['hrsam-tiny', 'hrsam++-tiny', 'sam-tiny'])('segment, %s', (preset) => {
  let model: HRSAM;
  let image: EncodedImage;
  let earlier: Mask;
  beforeAll(async () => {
    model = await randomModel(preset);
    image = await model.encode(picture(HEIGHT, WIDTH));
    [earlier] = (await image.segment({ points: [[70, 40]] })) as [Mask];
  });
  afterAll(() => image?.dispose());

  const clicks = (count: number): Prompt => ({
    points: Array.from({ length: count }, (_, i) => [(i * 37) % WIDTH, (i * 23) % HEIGHT] as const),
    labels: Array.from({ length: count }, (_, i) => i % 2),
  });

  it('gives one mask for one prompt, at the size of the picture', async () => {
    expect(earlier.index).toBe(0);
    expect([earlier.height, earlier.width]).toEqual([HEIGHT, WIDTH]);
    const pixels = earlier.pixels();
    expect(pixels).toHaveLength(HEIGHT * WIDTH);
    expect(earlier.area).toBe(pixels.reduce((sum, pixel) => sum + pixel, 0));
    expect(earlier.rle).toEqual(encodeRle(pixels, HEIGHT, WIDTH));
    expect(earlier.score).toSatisfy(Number.isFinite);
    const inside = [...pixels.keys()].filter((i) => pixels[i] === 1);
    const [columns, rows] = [inside.map((i) => i % WIDTH), inside.map((i) => Math.floor(i / WIDTH))];
    expect(earlier.bbox).toEqual([
      Math.min(...columns),
      Math.min(...rows),
      Math.max(...columns),
      Math.max(...rows),
    ]);
  });

  it('is where the logits of the picture are above 0', async () => {
    const { data } = await fullLogits([earlier], image);
    const pixels = earlier.pixels();
    const wrong = data.filter((logit, i) => Math.abs(logit) > 1e-4 && Number(logit > 0) !== pixels[i]);
    expect(wrong).toHaveLength(0);
    expect(earlier.area).toBeGreaterThan(0);
    expect(earlier.area).toBeLessThan(HEIGHT * WIDTH);
  });

  it('gives prompts of a list, of any lengths and kinds, what each gets alone', async () => {
    const mask = earlier.logits;
    const prompts: Prompt[] = [
      clicks(1),
      clicks(12),
      { mask },
      { box: [10, 5, 120, 80] },
      { ...clicks(3), box: [10, 5, 120, 80] },
      { ...clicks(7), mask },
      clicks(8),
      { box: [0, 0, WIDTH, HEIGHT], mask },
    ];
    const together = await image.segment(prompts);
    expect(together).toHaveLength(prompts.length);
    for (const [i, prompt] of prompts.entries()) {
      const alone = await image.segment(prompt);
      expect(together[i]!.map(contents), `prompt ${i}`).toEqual(alone.map(contents));
    }
  });

  it('takes all points for clicks on the object unless labels say otherwise', async () => {
    const { points } = clicks(2);
    const [[bare], [labelled], [mixed]] = (await image.segment([
      { points },
      { points, labels: [1, 1] },
      { points, labels: [1, 0] },
    ])) as [[Mask], [Mask], [Mask]];
    expect(contents(bare)).toEqual(contents(labelled));
    expect(mixed.logits.data).not.toEqual(bare.logits.data);
  });

  it('answers every part of a prompt', async () => {
    const base = { ...clicks(2), box: [20, 10, 100, 70] as const };
    const answers = await image.segment([
      base,
      { ...base, mask: earlier.logits },
      { ...base, box: [20, 10, 101, 70] },
      { ...base, points: [[1, 0], base.points![1]!] },
      clicks(2),
    ]);
    const distinct = new Set(answers.map(([mask]) => mask!.logits.data.join()));
    expect(distinct.size).toBe(answers.length);
  });

  it('several boxes are as many prompts', async () => {
    const boxes = [
      [5, 5, 60, 60],
      [50, 20, 149, 89],
    ] as const;
    const masks = await image.segment({ boxes });
    const listed = await image.segment(boxes.map((box) => ({ box })));
    expect(masks.map(contents)).toEqual(listed.flat().map(contents));
  });

  it('returns the alternatives, the best or the fitting mask', async () => {
    const answer = (prompt: Prompt, multimask: 'best' | 'auto' | boolean) =>
      image.segment({ ...prompt, multimask });
    const all = [...(await answer(clicks(1), false)), ...(await answer(clicks(1), true))];
    expect(all.map(({ index }) => index)).toEqual([0, 1, 2, 3]);
    const highest = (masks: Mask[]) => masks.reduce((best, mask) => (mask.score > best.score ? mask : best));
    expect((await answer(clicks(1), 'best')).map(contents)).toEqual([contents(highest(all))]);
    expect((await answer(clicks(1), 'auto')).map(contents)).toEqual([contents(highest(all.slice(1)))]);
    expect((await answer(clicks(2), 'auto')).map(({ index }) => index)).toEqual([0]);
    const box = [9, 9, 80, 80] as const;
    expect((await answer({ box }, 'auto'))[0]!.index).toBeGreaterThan(0);
    expect((await answer({ ...clicks(1), box }, 'auto'))[0]!.index).toBe(0);
  });

  it('refines an answer as if it had been given back as the mask of its prompt', async () => {
    const prompts = [clicks(1), clicks(3), { box: [9, 9, 80, 80] } as Prompt];
    const refined = await image.segment(prompts, { refinements: 2 });
    let byHand = (await image.segment(prompts)).flat();
    for (let pass = 0; pass < 2; pass++) {
      const again = prompts.map((prompt, i) => ({ ...prompt, mask: byHand[i]!.logits }));
      byHand = (await image.segment(again)).flat();
    }
    expect(refined.flat().map(contents)).toEqual(byHand.map(contents));
    const [plain] = await image.segment({ ...clicks(1), refinements: 0 });
    expect(contents(plain!)).toEqual(contents((await image.segment(clicks(1)))[0]!));
    expect(refined[0]![0]!.logits.data).not.toEqual(plain!.logits.data);
    // A prompt that brings a mask is a refinement itself; in a list, each prompt goes by its own.
    const mask = plain!.logits;
    const [once] = await image.segment({ ...clicks(3), mask });
    const mixed = await image.segment([{ ...clicks(3), mask }, clicks(1)], { refinements: 2 });
    expect(mixed.flat().map(contents)).toEqual([once!, refined[0]![0]!].map(contents));
  });

  it.each([true, 'best', 'auto'] as const)(
    'leaves the masks of multimask %s as they are',
    async (multimask) => {
      const plain = await image.segment({ ...clicks(1), multimask });
      const asked = await image.segment({ ...clicks(1), multimask, refinements: 3 });
      expect(asked.map(contents)).toEqual(plain.map(contents));
    },
  );

  it('chooses for each prompt of a list on its own', async () => {
    const prompts = [clicks(1), clicks(4), { box: [9, 9, 80, 80] } as Prompt];
    const together = await image.segment(prompts, { multimask: 'auto' });
    for (const [i, prompt] of prompts.entries()) {
      const alone = await image.segment({ ...prompt, multimask: 'auto' });
      expect(together[i]!.map(contents)).toEqual(alone.map(contents));
    }
  });

  it('answers calls made at the same time as if one by one', async () => {
    const prompts = [clicks(1), clicks(3), clicks(9)];
    const answers = await Promise.all(prompts.map((prompt) => image.segment(prompt)));
    for (const [i, prompt] of prompts.entries())
      expect(answers[i]!.map(contents)).toEqual((await image.segment(prompt)).map(contents));
  });

  it('takes places on the border of the picture', async () => {
    const corners = [
      [0, 0],
      [WIDTH, 0],
      [0, HEIGHT],
      [WIDTH, HEIGHT],
    ] as const;
    const [mask] = await image.segment({ points: corners, box: [0, 0, WIDTH, HEIGHT] });
    expect(mask!.logits.data.every(Number.isFinite)).toBe(true);
  });

  it('stops before it begins when the signal has fired', async () => {
    const signal = AbortSignal.abort();
    const error = await errorOf(() => image.segment({ ...clicks(1), signal }));
    expect(error.code).toBe('ERR_ABORTED');
  });

  it('takes mask logits of other sides where the model resizes what they are encoded to', async () => {
    const { height, width } = earlier.logits;
    const mask = { data: new Float32Array(2 * height * width), height: 2 * height, width };
    const asked = image.segment({ ...clicks(1), mask });
    if (preset !== 'sam-tiny') expect(await asked).toHaveLength(1);
    else {
      const { code, message } = await errorOf(() => asked);
      expect(code).toBe('ERR_PROMPT');
      expect(message).toMatch(/mask logits; expected \[?56, 56\]?; got \[?112, 56/);
    }
  });

  it('answers many prompts of a large picture in groups, each as alone', async () => {
    using large = await model.encode(picture(5000, 6000));
    const prompts = Array.from({ length: 11 }, (_, i): Prompt => ({ points: [[500 * i, 450 * i]] }));
    const together = await large.segment(prompts);
    expect(together).toHaveLength(prompts.length);
    for (const i of [0, 7, 10]) {
      const alone = await large.segment(prompts[i]!);
      expect(together[i]!.map(contents)).toEqual(alone.map(contents));
    }
  });

  it('goes on when its picture is disposed, and frees it then', async () => {
    const before = await heldBytes();
    const other = await model.encode(picture(32, 32));
    const prompts: Prompt[] = [{ points: [[3, 4]] }, { box: [1, 1, 20, 20] }, { mask: earlier.logits }];
    const expected = await other.segment(prompts);
    const requests = [other.segment(prompts), other.segment(prompts)];
    const everything = other.everything({ pointsPerSide: 9, minScore: 0, minStability: 0 });
    other.dispose();
    expect((await errorOf(() => other.segment(prompts))).code).toBe('ERR_DISPOSED');
    for (const masks of await Promise.all(requests))
      expect(masks.flat().map(contents)).toEqual(expected.flat().map(contents));
    expect(await everything).toEqual(expect.any(Array));
    expect(await heldBytes()).toBe(before);
  });

  it('refuses a disposed picture', async () => {
    const other = await model.encode(picture(32, 32));
    expect(other.disposed).toBe(false);
    other.dispose();
    other.dispose();
    expect(other.disposed).toBe(true);
    expect((await errorOf(() => other.segment({ points: [[1, 1]] }))).code).toBe('ERR_DISPOSED');
  });
});
