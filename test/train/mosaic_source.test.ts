import { join } from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { Rng } from '../../lib/rng.js';
import { FolderSource } from '../../lib/train/samples/folder_source.js';
import { Mixture } from '../../lib/train/samples/mixture.js';
import { MosaicSource } from '../../lib/train/samples/mosaic_source.js';
import { measure, type SampleSource, type WeightedSource } from '../../lib/train/samples/source.js';
import { scratch } from '../support/files.js';
import { noAugmentation, sampleDigest } from '../support/samples.js';
import { BLUE, discSet, GREEN, RED, SHAPES } from '../support/sets.js';

const root = scratch('hrsam-mosaic-')();
let discs: WeightedSource[];

const opened = async (folder: string, weight: number): Promise<WeightedSource> => ({
  source: await FolderSource.open(folder),
  weight,
});

beforeAll(async () => {
  const [red, green] = [join(root, 'red'), join(root, 'green')];
  const sizes = [
    [300, 256],
    [256, 320],
    [400, 300],
  ] as const;
  await discSet(red, RED, BLUE, sizes);
  await discSet(green, GREEN, BLUE, sizes);
  discs = [await opened(red, 1), await opened(green, 1)];
});

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

describe('MosaicSource', () => {
  it('lays out tiles of 256 pixels, and labels objects where they are seen', async () => {
    const source = new MosaicSource(discs, { tiles: [1, 3] });
    const sizes = new Set<string>();
    for (const k of numbers(40)) {
      const object = (await source.draw(new Rng(3, k), 3))!;
      const { width, height, data } = object.pixels;
      sizes.add(`${width / 256} x ${height / 256}`);
      expect(data.length).toBe(3 * width * height);
      const masks = [object.mask, ...object.others];
      expect(masks.length).toBe(Math.min(4, (width * height) / 256 ** 2));
      const tiles = masks.map((mask) => {
        const { box, area } = measure(mask, width)!;
        // A disc has a radius of 77 to 90, of which 60 % are inside.
        expect(area).toBeGreaterThan(0.6 * Math.PI * 76 ** 2);
        const tile = [box[0], box[1]].map((low) => Math.floor(low / 256));
        expect([box[2], box[3]].map((high) => Math.floor((high - 1) / 256))).toEqual(tile);
        const [column, row] = tile as [number, number];
        let different = 0;
        for (let y = 256 * row; y < 256 * (row + 1); y++)
          for (let x = 256 * column; x < 256 * (column + 1); x++) {
            const i = y * width + x;
            if ((data[3 * i + 2] === 0) !== (mask[i] === 1)) different++;
          }
        expect(different).toBe(0);
        return `${tile}`;
      });
      expect(new Set(tiles).size).toBe(tiles.length);
      expect(object).toMatchObject(measure(object.mask, width)!);
    }
    expect(sizes.size).toBe(9);
  });

  it('draws the same again, from all of its sources, and any tile as the object', async () => {
    const source = new MosaicSource(discs, { tiles: [2, 2] });
    const seen = new Set<string>();
    for (const k of numbers(30)) {
      const object = (await source.draw(new Rng(4, k)))!;
      const again = (await source.draw(new Rng(4, k)))!;
      expect(Buffer.compare(object.pixels.data, again.pixels.data)).toBe(0);
      expect(Buffer.compare(object.mask, again.mask)).toBe(0);
      expect(object.others).toEqual([]);
      const red = object.pixels.data[3 * object.mask.indexOf(1)] === 255;
      seen.add(`${red} ${object.box[0] < 256} ${object.box[1] < 256}`);
    }
    expect(seen.size).toBe(8);
  });

  it('gives nothing where pictures are smaller than a tile, or objects never fit one', async () => {
    const small = await opened(await discSet(join(root, 'small'), RED, BLUE, SHAPES), 1);
    expect(await new MosaicSource([small], { tiles: [1, 1] }).draw(new Rng(1))).toBeUndefined();
    const [width, height] = [900, 300];
    const bar: SampleSource = {
      name: 'bar',
      unusable: 'nothing',
      draw: async () => ({
        pixels: { data: new Uint8Array(3 * width * height), width, height, channels: 3 },
        mask: new Uint8Array(width * height).fill(1),
        box: [0, 0, width, height],
        area: width * height,
        others: [],
      }),
    };
    const bars = new MosaicSource([{ source: bar, weight: 1 }], { tiles: [1, 1] });
    expect(await bars.draw(new Rng(1))).toBeUndefined();
  });

  it('becomes samples like any picture', async () => {
    const source = new MosaicSource(discs, { tiles: [2, 3] });
    const mixture = new Mixture([{ source, weight: 1 }], { seed: 1, size: 192, objects: 3 });
    const digests = await Promise.all(numbers(12).map(async (k) => sampleDigest(await mixture.sample(k))));
    expect(new Set(digests).size).toBe(12);
    const plain = new Mixture([{ source, weight: 1 }], {
      seed: 1,
      size: 256,
      objects: 4,
      augment: noAugmentation,
    });
    for (const k of numbers(6)) {
      const { image, mask, others } = await plain.sample(k);
      expect(others.length).toBe(3);
      for (const each of [mask, ...others])
        each.forEach((value, i) => {
          if (value === 1) expect(image.data[3 * i + 2]).toBeLessThan(160);
        });
    }
  });
});
