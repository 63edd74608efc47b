import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { generateScene, type Scene } from '../../lib/train/scenes/generate.js';
import { codeOf } from '../support/errors.js';

const digest = ({ pixels, masks }: Scene): string => {
  const hash = createHash('sha256').update(pixels.data);
  for (const mask of masks) hash.update(mask);
  return hash.digest('hex').slice(0, 16);
};

const seeds = (count: number, from = 0) => Array.from({ length: count }, (_, i) => from + i);

/** Pairs of neighbours, to the right and below. */
function* neighbours(width: number, height: number): Generator<[number, number]> {
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = y * width + x;
      if (x + 1 < width) yield [at, at + 1];
      if (y + 1 < height) yield [at, at + width];
    }
  }
}

/** Twice the area over the length of the outline: how wide a line is; 0 for specks. */
function thickness(mask: Uint8Array, width: number): number {
  let [area, edges] = [0, 0];
  for (let i = width; i < mask.length; i++) {
    area += mask[i]!;
    edges += (mask[i]! ^ mask[i - 1]!) + (mask[i]! ^ mask[i - width]!);
  }
  return area < 1000 ? 0 : (2 * area) / edges;
}

describe('generateScene', () => {
  it('makes the same bytes from the same seed, on every machine', async () => {
    const scene = await generateScene({ seed: 1, width: 96, height: 64 });
    expect(digest(scene)).toBe('acf176a9efbbddad');
  });

  it('makes them whatever else is being made', async () => {
    const alone: string[] = [];
    for (const seed of seeds(4)) alone.push(digest(await generateScene({ seed, width: 64, height: 64 })));
    const together = await Promise.all(
      seeds(4).map((seed) => generateScene({ seed, width: 64, height: 64 })),
    );
    expect(together.map(digest)).toEqual(alone);
    expect(new Set(alone).size).toBe(4);
  });

  it('tells seeds beyond 32 bits apart', async () => {
    const scenes = await Promise.all(
      [5, 2 ** 32 + 5].map((seed) => generateScene({ seed, width: 64, height: 64 })),
    );
    expect(digest(scenes[0]!)).not.toBe(digest(scenes[1]!));
  });

  it.each(seeds(24))('labels each pixel at most once, inside tight boxes (seed %i)', async (seed) => {
    const [width, height] = [113, 80];
    const { pixels, masks, boxes, areas } = await generateScene({ seed, width, height });
    expect(pixels).toMatchObject({ width, height, channels: 3 });
    expect(pixels.data.length).toBe(3 * width * height);
    expect(masks.length).toBeGreaterThan(0);
    expect(masks.length).toBeLessThanOrEqual(16);
    expect(boxes.length).toBe(masks.length);
    const owners = new Uint8Array(width * height);
    masks.forEach((mask, k) => {
      expect(mask.length).toBe(width * height);
      const box = [width, height, -1, -1];
      mask.forEach((value, i) => {
        owners[i]! += value;
        if (value === 0) return;
        const [x, y] = [i % width, Math.floor(i / width)];
        box[0] = Math.min(box[0]!, x);
        box[1] = Math.min(box[1]!, y);
        box[2] = Math.max(box[2]!, x + 1);
        box[3] = Math.max(box[3]!, y + 1);
      });
      expect(boxes[k]).toEqual(box);
      expect(areas[k]).toBe(mask.filter((value) => value !== 0).length);
    });
    expect(Math.max(...owners)).toBeLessThanOrEqual(1);
  });

  it('puts the borders of masks where colours change', async () => {
    let [across, inside] = [0, 0];
    let [borders, others] = [0, 0];
    for (const seed of seeds(30)) {
      const [width, height] = [128, 128];
      const { pixels, masks } = await generateScene({ seed, width, height, objects: 1 });
      if (!masks[0]) continue;
      const { data } = pixels;
      for (const [a, b] of neighbours(width, height)) {
        let difference = 0;
        for (let k = 0; k < 3; k++) difference += Math.abs(data[3 * a + k]! - data[3 * b + k]!);
        if (masks[0][a] !== masks[0][b]) {
          across += difference;
          borders++;
        } else {
          inside += difference;
          others++;
        }
      }
    }
    expect(borders).toBeGreaterThan(1000);
    // A border's contrast is spread over two or three pixels.
    expect(across / borders).toBeGreaterThan(2 * (inside / others));
  });

  it('has as many objects as asked for, less the hidden ones', async () => {
    for (const objects of [1, 3, 64]) {
      const { masks } = await generateScene({ seed: 9, width: 256, height: 256, objects });
      expect(masks.length).toBeGreaterThan(0);
      expect(masks.length).toBeLessThanOrEqual(objects);
    }
  });

  it('has lines a few pixels wide beside broad shapes at 2048 x 2048', async () => {
    const side = 2048;
    const { masks } = await generateScene({ seed: 3, width: side, height: side, objects: 16 });
    const widths = masks.map((mask) => thickness(mask, side)).filter((width) => width > 0);
    expect(Math.min(...widths)).toBeLessThan(5);
    expect(Math.max(...widths)).toBeGreaterThan(50);
  });

  it.each([
    { seed: -1 },
    { seed: 0.5 },
    { width: 15 },
    { height: Number.NaN },
    { width: 2 ** 20, height: 2 ** 20 },
    { objects: 65 },
  ])('refuses %o', async (wrong) => {
    const options = { seed: 1, width: 64, height: 64, ...wrong };
    expect(await codeOf(() => generateScene(options))).toBe('ERR_ARGUMENT');
  });
});
