import { beforeAll, describe, expect, it } from 'vitest';
import type { Pixels } from '../../lib/image/pixels.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import type { EncodedImage } from '../../lib/predictor/image.js';
import type { Mask } from '../../lib/predictor/mask.js';
import type { Prompt } from '../../lib/predictor/prompts.js';
import { partAround } from '../../lib/predictor/zoom.js';
import { Rng } from '../../lib/rng.js';
import { errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { heldBytes } from '../support/memory.js';
import { contents, picture, randomModel } from './support/models.js';

const boxed = (...bbox: [number, number, number, number]) => ({ bbox });

describe('the part of a picture around an answer', () => {
  const size = { height: 600, width: 800 };

  it('holds mask, box and clicks on the object, with a margin, and lies in the picture', () => {
    const draws = new Rng(5);
    for (let n = 0; n < 500; n++) {
      const span = (most: number) => {
        const [a, b] = [draws.below(most), draws.below(most)];
        return [Math.min(a, b), Math.max(a, b)] as const;
      };
      const [[x0, x1], [y0, y1], [u0, u1], [v0, v1]] = [span(800), span(600), span(800), span(600)];
      const [px, py] = [draws.uniform(0, 800), draws.uniform(0, 600)];
      const prompt: Prompt = { points: [[px, py]], ...(n % 2 === 0 && { box: [u0, v0, u1, v1] }) };
      const part = partAround(prompt, boxed(x0, y0, x1, y1), size);
      const holds = (x: number, y: number) =>
        x >= part.x && y >= part.y && x <= part.x + part.width && y <= part.y + part.height;
      const corners = [
        [x0, y0],
        [x1 + 1, y1 + 1],
        [px, py],
        ...(n % 2 === 0
          ? [
              [u0, v0],
              [u1, v1],
            ]
          : []),
      ] as [number, number][];
      for (const [x, y] of corners) expect(holds(x, y)).toBe(true);
      for (const value of Object.values(part)) expect(Number.isInteger(value)).toBe(true);
      expect([part.x >= 0, part.y >= 0]).toEqual([true, true]);
      expect(part.x + part.width).toBeLessThanOrEqual(800);
      expect(part.y + part.height).toBeLessThanOrEqual(600);
      // What is around takes part of it, unless the picture ends there.
      const [xs, ys] = [corners.map(([x]) => x), corners.map(([, y]) => y)];
      const free = part.x > 0 && part.y > 0 && part.x + part.width < 800 && part.y + part.height < 600;
      if (!free) continue;
      expect(part.width).toBeGreaterThanOrEqual(1.3 * (Math.max(...xs) - Math.min(...xs)));
      expect(part.height).toBeGreaterThanOrEqual(1.3 * (Math.max(...ys) - Math.min(...ys)));
      expect(Math.max(part.width, part.height)).toBeLessThan(3 * Math.min(part.width, part.height) + 64);
    }
  });

  it('is the same for masks that are nearly', () => {
    const around = (bbox: [number, number, number, number], prompt: Prompt = {}) =>
      partAround(prompt, boxed(...bbox), size);
    expect(around([304, 200, 404, 290])).toEqual(around([305, 199, 407, 288]));
    // Background clicks and padding lead nowhere.
    const points: Prompt = { points: [[0, 0] as const, [9, 9] as const], labels: [0, -1] };
    expect(around([304, 200, 404, 290], points)).toEqual(around([304, 200, 404, 290]));
    expect(around([0, 0, 799, 599])).toEqual({ x: 0, y: 0, ...size });
    expect(around([10, 20, 10, 20])).toEqual({ x: 0, y: 0, width: 40, height: 56 });
  });
});

/** A picture's rows and columns alone. */
function cut({ data, width, channels }: Pixels, x: number, y: number, w: number, h: number): Pixels {
  const part = new Uint8Array(w * h * channels);
  for (let i = 0; i < part.length; i++) {
    const pixel = Math.floor(i / channels);
    const at = (y + Math.floor(pixel / w)) * width + x + (pixel % w);
    part[i] = data[at * channels + (i % channels)]!;
  }
  return { data: part, width: w, height: h, channels };
}

describe.each(['hrsam-tiny', 'hrsam++-tiny', 'sam-tiny'])('zoom, %s', (preset) => {
  const [HEIGHT, WIDTH] = [200, 330];
  const pixels = picture(HEIGHT, WIDTH);
  let model: HRSAM;
  let own: number;
  let plain: EncodedImage;
  let image: EncodedImage;
  /** Clicks, with minRegion 1, whose masks fill a small and a larger part of the picture, and one that fills it. */
  let prompts: { prompt: Prompt; first: Mask }[];
  let filling: Prompt;

  beforeAll(async () => {
    model = await randomModel(preset);
    own = model.config.image.size;
    plain = await model.encode(pixels);
    image = await model.encode(pixels, { zoom: true });
    prompts = [];
    for (let x = 5; x < WIDTH; x += 13)
      for (let y = 5; y < HEIGHT; y += 11) {
        const prompt: Prompt = { points: [[x, y]], labels: [1] };
        const [first] = await plain.segment({ ...prompt, minRegion: 1 });
        if (first.area === 0) continue;
        const part = partAround(prompt, first, first);
        if (own / Math.max(part.width, part.height) < (1.25 * own) / WIDTH) filling ??= prompt;
        else if (!prompts.some(({ first: { area } }) => area === first.area)) prompts.push({ prompt, first });
      }
    return () => [plain, image].map((one) => one.dispose());
  });

  it('asks again about the part around an answer, with it as the mask', async () => {
    expect(prompts.length).toBeGreaterThan(1);
    for (const { prompt, first } of prompts.slice(0, 6)) {
      const part = partAround(prompt, first, first);
      const side = Math.max(part.width, part.height);
      // Half of the model's size where that is as large as the picture was, and no pixel is lost.
      const small = preset !== 'sam-tiny' && own / 2 / side >= Math.max(1, own / WIDTH);
      const size = small ? own / 2 : own;
      using encoded = await model.encode(cut(pixels, part.x, part.y, part.width, part.height), { size });
      const scale = first.logits.width / plain.input.width;
      const at = ({ data, width, height }: Mask['logits'], x: number, y: number) => {
        const [cx, cy] = [Math.min(width - 1, Math.max(0, x)), Math.min(height - 1, Math.max(0, y))];
        const [left, top] = [Math.min(width - 2, Math.floor(cx)), Math.min(height - 2, Math.floor(cy))];
        const [u, v] = [cx - left, cy - top];
        const row = (r: number) => (1 - u) * data[r * width + left]! + u * data[r * width + left + 1]!;
        return (1 - v) * row(top) + v * row(top + 1);
      };
      const cells = size * scale;
      const toWhole = (i: number, along: 'width' | 'height', begin: number) =>
        (((i + 0.5) / scale) * (part[along] / encoded.resized[along]) + begin) *
          (plain.resized[along] / first[along]) *
          scale -
        0.5;
      const mask = {
        data: Float32Array.from({ length: cells * cells }, (_, i) =>
          at(
            first.logits,
            toWhole(i % cells, 'width', part.x),
            toWhole(Math.floor(i / cells), 'height', part.y),
          ),
        ),
        height: cells,
        width: cells,
      };
      const [[x, y]] = prompt.points as [[number, number]];
      const points = [[x - part.x, y - part.y]] as const;
      const [expected] = await encoded.segment({ points, mask, minRegion: 1 });
      const [answer] = await image.segment({ ...prompt, minRegion: 1 });
      if (expected.area === 0) {
        expect(contents(answer)).toEqual(contents(first));
        continue;
      }
      const placed = new Uint8Array(HEIGHT * WIDTH);
      const inner = expected.pixels();
      for (let row = 0; row < part.height; row++)
        placed.set(inner.subarray(row * part.width, (row + 1) * part.width), (part.y + row) * WIDTH + part.x);
      const differing = answer.pixels().filter((pixel, i) => pixel !== placed[i]).length;
      // Logits are sampled in another order here.
      expect(differing).toBeLessThanOrEqual(2);
      expect(answer.score).toBeCloseTo(expected.score, 3);
      expect(answer.area).toBe(answer.pixels().reduce((sum, pixel) => sum + pixel, 0));
      // Its logits are the picture's: the part's in the part, the first answer's around it.
      expect(answer.logits.data).toHaveLength(first.logits.data.length);
      const { width, height } = answer.logits;
      for (let i = 0; i < width * height; i += 7) {
        const [cx, cy] = [i % width, Math.floor(i / width)];
        const place = (c: number, along: 'width' | 'height') =>
          ((c + 0.5) / scale) * (first[along] / plain.resized[along]);
        const [px, py] = [place(cx, 'width') - part.x, place(cy, 'height') - part.y];
        const inside = px >= 0 && py >= 0 && px < part.width && py < part.height;
        const toPart = (p: number, along: 'width' | 'height') =>
          p * (encoded.resized[along] / part[along]) * scale - 0.5;
        const wanted = inside
          ? at(expected.logits, toPart(px, 'width'), toPart(py, 'height'))
          : first.logits.data[i]!;
        expect(Math.abs(answer.logits.data[i]! - wanted)).toBeLessThan(1e-2);
      }
    }
  });

  it('says the same whatever was asked before, alone and in lists, of batches and of copies', async () => {
    const [one, other] = prompts.map(({ prompt }) => prompt) as [Prompt, Prompt];
    const ask = async (asked: EncodedImage, prompt: Prompt) =>
      (await asked.segment([prompt], { minRegion: 1 })).flat().map(contents);
    const [first, second] = [await ask(image, one), await ask(image, other)];
    expect(await ask(image, one)).toEqual(first);
    const list = await image.segment([other, one, other], { minRegion: 1 });
    expect(list.flat().map(contents)).toEqual([...second, ...first, ...second]);
    const both = await Promise.all([ask(image, one), ask(image, other), ask(image, one)]);
    expect(both).toEqual([first, second, first]);
    // What the caller does with the pixels afterwards changes nothing.
    const mine = { ...pixels, data: pixels.data.slice() };
    const [, again] = await model.encodeBatch([picture(40, 50), mine], { zoom: true });
    mine.data.fill(0);
    using kept = again!;
    const [{ score }] = await kept.segment({ ...one, minRegion: 1 });
    expect(score).toBeCloseTo(first[0]!.score, 4);
  });

  it('leaves an answer that fills the picture, and all of multimask', async () => {
    const ask = async (asked: EncodedImage, prompt: Prompt, options: object) =>
      (await asked.segment({ ...prompt, ...options })).map(contents);
    expect(filling).toBeDefined();
    expect(await ask(image, filling, { minRegion: 1 })).toEqual(await ask(plain, filling, { minRegion: 1 }));
    const { prompt } = prompts[0]!;
    for (const multimask of [true, 'best', 'auto'] as const)
      expect(await ask(image, prompt, { multimask })).toEqual(await ask(plain, prompt, { multimask }));
  });

  it('holds the picture and one part, and frees them', async () => {
    const before = await heldBytes();
    const held = await model.encode(pixels, { zoom: true });
    expect(held.bytes).toBe(2 * held.embedding.bytes + pixels.data.length);
    const asked = prompts.slice(0, 4).map(({ prompt }) => held.segment([prompt], { minRegion: 1 }));
    held.dispose();
    expect((await Promise.all(asked)).flat(2)).toHaveLength(asked.length);
    expect(await heldBytes()).toBe(before);
    const none = await model.encode(pixels);
    expect(none.bytes).toBe(none.embedding.bytes);
    none.dispose();
  });

  it('ends when it is told to, and goes on', async () => {
    const { prompt, first } = prompts[0]!;
    using held = await model.encode(pixels, { zoom: true });
    const controller = new AbortController();
    const asked = held.segment([prompt], { minRegion: 1, signal: controller.signal });
    controller.abort();
    expect((await errorOf(() => asked)).code).toBe('ERR_ABORTED');
    const [[answer]] = (await held.segment([prompt], { minRegion: 1 })) as [[Mask]];
    expect(answer.rle.size).toEqual(first.rle.size);
    const wrong = { zoom: 1 as unknown as boolean };
    expect((await errorOf(() => model.encode(pixels, wrong))).message).toMatch(
      /zoom; expected true or false/,
    );
  });

  it('is not for a picture that was saved', async () => {
    const path = scratch('hrsam-')('saved.safetensors');
    await model.saveEmbedding(image, path);
    using restored = await model.loadEmbedding(path);
    const { prompt, first } = prompts[0]!;
    const [answer] = await restored.segment({ ...prompt, minRegion: 1 });
    expect(contents(answer)).toEqual(contents(first));
    expect(restored.bytes).toBe(restored.embedding.bytes);
  });
});

describe('the model included', () => {
  it('finds something small better for it', async () => {
    // A disc of 18 pixels' radius in a picture of 900 × 700.
    const [width, height, radius] = [900, 700, 18];
    const [cx, cy] = [610, 250];
    const draws = new Rng(9);
    const inside = (i: number) => Math.hypot((i % width) - cx, Math.floor(i / width) - cy) < radius;
    const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
      const pixel = Math.floor(i / 3);
      const ground = 90 + 40 * Math.sin((pixel % width) / 60) + (i % 3) * 12;
      return (inside(pixel) ? 190 - 40 * (i % 3) : ground) + draws.below(9);
    });
    using model = await HRSAM.load(undefined, { device: 'cpu' });
    const iou = async (zoom: boolean) => {
      using image = await model.encode({ data, width, height, channels: 3 }, { zoom });
      const [mask] = await image.segment({ points: [[cx, cy]] });
      let [both, either] = [0, 0];
      mask.pixels().forEach((pixel, i) => {
        if (pixel !== 0 && inside(i)) both++;
        if (pixel !== 0 || inside(i)) either++;
      });
      return both / either;
    };
    const [without, zoomed] = [await iou(false), await iou(true)];
    expect(zoomed).toBeGreaterThan(0.9);
    expect(zoomed).toBeGreaterThan(without);
  });
});
