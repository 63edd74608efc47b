import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import type { HrsamError } from '../../lib/errors.js';
import { Rng } from '../../lib/rng.js';
import { randomCrop } from '../../lib/train/samples/crop.js';
import { FolderSource } from '../../lib/train/samples/folder_source.js';
import { Mixture } from '../../lib/train/samples/mixture.js';
import { prefetch } from '../../lib/train/samples/prefetch.js';
import { SceneSource } from '../../lib/train/samples/scene_source.js';
import { sample } from '../eval/support.js';
import { codeOf, errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { sampleDigest } from '../support/samples.js';
import { BLUE, discSet, RED, SHAPES } from '../support/sets.js';

const root = scratch('hrsam-sources-')();

beforeAll(async () => {
  await discSet(join(root, 'red'), RED, BLUE, SHAPES);
});

describe('FolderSource', () => {
  async function brokenSet(name: string, good: boolean): Promise<string> {
    const folder = await discSet(join(root, name), RED, BLUE, [
      [80, 60],
      [50, 50],
    ]);
    const picture = await sharp(join(folder, 'images/0.png')).jpeg().toBuffer();
    await writeFile(join(folder, 'cut.jpg'), picture.subarray(0, picture.length / 2));
    await writeFile(join(folder, 'text.png'), 'not a picture');
    const black = { create: { width: 50, height: 50, channels: 3, background: 'black' } } as const;
    await sharp(black).png().toFile(join(folder, 'empty.png'));
    const entries: unknown[] = [
      { image: 'cut.jpg', mask: 'images/0_mask.png' },
      { image: 'text.png', mask: 'images/0_mask.png' },
      { image: 'missing.png', mask: 'images/0_mask.png' },
      { image: 'images/1.png', mask: 'images/0_mask.png' },
      { image: 'images/1.png', mask: 'empty.png' },
      { image: '../red/images/0.png', mask: '../red/images/0_mask.png' },
      { image: 'images/1.png' },
      null,
    ];
    if (good) entries.push({ image: 'images/0.png', mask: 'images/0_mask.png' });
    await writeFile(join(folder, 'index.json'), JSON.stringify(entries));
    return folder;
  }

  it('reports each corrupt entry once and goes on', async () => {
    const errors: HrsamError[] = [];
    const onCorrupt = (error: HrsamError) => errors.push(error);
    const source = await FolderSource.open(await brokenSet('broken', true), { onCorrupt });
    const mixed = new Mixture([{ source, weight: 1 }], { seed: 1, size: 32 });
    const digests: string[] = [];
    for await (const sample of prefetch((k) => mixed.sample(k), { to: 20 }))
      digests.push(sampleDigest(sample));
    expect(errors.length).toBe(8);
    const messages = errors.map(({ message }) => message).join('\n');
    for (const part of [
      'cut.jpg',
      'text.png',
      'missing.png',
      'entry 3',
      'entry 4',
      'entry 5',
      'entry 6',
      'entry 7',
    ])
      expect(messages).toContain(part);
    // Knowing them already changes nothing.
    expect(sampleDigest(await mixed.sample(4))).toBe(digests[4]);
  });

  it('takes masks of 0 and 1, and one file as picture and as mask', async () => {
    const folder = await discSet(join(root, 'ones'), RED, BLUE, [[60, 40]]);
    const mask = await sharp(join(folder, 'images/0_mask.png')).greyscale().raw().toBuffer();
    const raw = { width: 60, height: 40, channels: 1 } as const;
    const ones = mask.map((value) => value >> 7);
    await sharp(ones, { raw }).png().toFile(join(folder, 'ones.png'));
    const entries = ['ones.png', 'images/0_mask.png'].flatMap((name) => [
      { image: 'images/0.png', mask: name },
      { image: name, mask: name },
    ]);
    await writeFile(join(folder, 'index.json'), JSON.stringify(entries));
    const source = await FolderSource.open(folder);
    for (const i of entries.keys()) {
      const object = await source.read(i);
      expect([object.pixels.channels, Buffer.compare(object.mask, ones)]).toEqual([3, 0]);
    }
  });

  it('says how bright a mask is that nothing is inside of', async () => {
    const folder = await discSet(join(root, 'dim'), RED, BLUE, [[60, 40]]);
    const dim = {
      create: { width: 60, height: 40, channels: 3, background: { r: 100, g: 9, b: 0 } },
    } as const;
    await sharp(dim).png().toFile(join(folder, 'dim.png'));
    await writeFile(join(folder, 'index.json'), JSON.stringify([{ image: 'images/0.png', mask: 'dim.png' }]));
    const { code, message } = await errorOf(async () => (await FolderSource.open(folder)).read(0));
    expect([code, message]).toEqual([
      'ERR_IMAGE',
      expect.stringMatching(
        /entry 0: nothing .* half of white; expected more than 127\.5; got 100, the brightest/,
      ),
    ]);
  });

  it('takes masks of 16 bits and bitmaps, shrunk or not', async () => {
    const files = sample();
    const disc = (x: number, y: number) => (x - 40) ** 2 + (y - 30) ** 2 < 400;
    for (const name of ['a.png', 'a.bmp']) await files.picture(name, 80, 60);
    await files.picture('mask.bmp', 80, 60, (x, y) => Array(3).fill(disc(x, y) ? 255 : 0));
    for (const white of [1, 255, 65535])
      await files.deep(`mask${white}.png`, 80, 60, (x, y) => (disc(x, y) ? white : 0));
    const entries = ['mask.bmp', 'mask1.png', 'mask255.png', 'mask65535.png'].flatMap((mask) =>
      ['a.png', 'a.bmp'].map((image) => ({ image, mask })),
    );
    files.json('index.json', entries);
    const inside = Uint8Array.from({ length: 80 * 60 }, (_, i) => Number(disc(i % 80, Math.floor(i / 80))));
    for (const scale of [1, 0.5]) {
      const source = await FolderSource.open(files.folder, { maxSide: 80 * scale });
      const first = await source.read(0);
      for (const i of entries.keys()) {
        const { pixels, mask, area } = await source.read(i);
        expect([pixels.width, pixels.height]).toEqual([80 * scale, 60 * scale]);
        expect(Buffer.compare(pixels.data, first.pixels.data)).toBe(0);
        if (scale === 1) expect(Buffer.compare(mask, inside)).toBe(0);
        expect(Math.abs(area / (400 * Math.PI * scale ** 2) - 1)).toBeLessThan(0.06);
      }
    }
  });

  it('ends with an error when nothing can be used', async () => {
    const source = await FolderSource.open(await brokenSet('hopeless', false));
    const mixed = new Mixture([{ source, weight: 1 }], { seed: 1, size: 32 });
    expect(await codeOf(() => mixed.sample(0))).toBe('ERR_FILE');
  });

  it('says that none of a set can be used, whatever others hold', async () => {
    const hopeless = await FolderSource.open(await brokenSet('hopeless', false));
    const good = await FolderSource.open(join(root, 'red'));
    const sources = [hopeless, good].map((source) => ({ source, weight: 1 }));
    const mixed = new Mixture(sources, { seed: 1, size: 32 });
    const error = await errorOf(async () => {
      for (let k = 0; k < 100; k++) await mixed.sample(k);
    });
    expect([error.code, error.message]).toEqual(['ERR_FILE', expect.stringContaining('none of its entries')]);
  });

  it.each(['{}', '[]', '[{', ''])('refuses the index %o', async (text) => {
    const folder = join(root, 'bad');
    await mkdir(folder, { recursive: true });
    await writeFile(join(folder, 'index.json'), text);
    expect(await codeOf(() => FolderSource.open(folder))).toBe('ERR_FILE');
  });

  it('refuses a folder without one', async () => {
    expect(await codeOf(() => FolderSource.open(join(root, 'nowhere')))).toBe('ERR_FILE');
  });

  it('shrinks large pictures and their masks alike', async () => {
    const source = await FolderSource.open(join(root, 'red'), { maxSide: 60 });
    const { pixels, mask, box } = await source.read(0);
    expect([pixels.width, pixels.height]).toEqual([60, 40]);
    expect(mask.length).toBe(60 * 40);
    // A disk around (36, 40) of radius 24, halved.
    const expected = [6, 8, 30, 32];
    box.forEach((value, i) => {
      expect(Math.abs(value - expected[i]!)).toBeLessThanOrEqual(1);
    });
  });

  it('gives the same without a cache', async () => {
    const folder = join(root, 'red');
    const [cached, fresh] = await Promise.all([
      FolderSource.open(folder),
      FolderSource.open(folder, { cacheBytes: 0 }),
    ]);
    for (const i of [0, 1, 0, 0]) expect(await fresh.read(i)).toEqual(await cached.read(i));
  });

  it('reads no file again while the cache has room for what it was', async () => {
    const folder = await discSet(join(root, 'once'), RED, BLUE, [
      [50, 40],
      [40, 50],
    ]);
    const roomy = await FolderSource.open(folder);
    const small = await FolderSource.open(folder, { cacheBytes: 4 * 50 * 40 });
    for (const source of [roomy, small]) for (const i of [0, 1]) await source.read(i);
    await rm(join(folder, 'images'), { recursive: true });
    for (const [source, i] of [
      [roomy, 0],
      [roomy, 1],
      [small, 1],
    ] as const)
      expect((await source.read(i)).mask.length).toBe(50 * 40);
    expect(await codeOf(() => small.read(0))).toBe('ERR_FILE');
  });
});

describe('SceneSource', () => {
  it('gives objects of the size asked for', async () => {
    const source = new SceneSource({ sides: [64, 128], minArea: 0.01 });
    for (const k of Array(20).keys()) {
      const object = await source.draw(new Rng(1, k));
      if (!object) continue;
      const { width, height } = object.pixels;
      expect(Math.max(width, height)).toBeGreaterThanOrEqual(64);
      expect(Math.max(width, height)).toBeLessThanOrEqual(128);
      expect(object.area).toBeGreaterThanOrEqual(0.01 * width * height);
      expect(object.area).toBe(object.mask.reduce((sum, v) => sum + v, 0));
    }
  });
});

describe('randomCrop', () => {
  it('keeps the promised part of the object, or takes the whole picture', async () => {
    const object = await (await FolderSource.open(join(root, 'red'))).read(0);
    const { width, height } = object.pixels;
    const rules = { keep: 0.6, area: [0.02, 0.7], minSide: 20 } as const;
    let parts = 0;
    for (const k of Array(200).keys()) {
      const crop = randomCrop(new Rng(k), object, rules);
      expect(crop.x).toBeGreaterThanOrEqual(0);
      expect(crop.y).toBeGreaterThanOrEqual(0);
      expect(crop.x + crop.width).toBeLessThanOrEqual(width);
      expect(crop.y + crop.height).toBeLessThanOrEqual(height);
      let inside = 0;
      for (let y = crop.y; y < crop.y + crop.height; y++)
        for (let x = crop.x; x < crop.x + crop.width; x++) inside += object.mask[y * width + x] ? 1 : 0;
      // Probes count every pixel of crops this small.
      expect(inside).toBeGreaterThanOrEqual(0.6 * object.area);
      if (crop.width < width) parts++;
      if (crop.width < width || crop.height < height)
        expect(inside / (crop.width * crop.height)).toBeLessThanOrEqual(0.7);
    }
    expect(parts).toBeGreaterThan(50);
  });
});
