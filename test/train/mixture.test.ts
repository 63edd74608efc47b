import { existsSync } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import type { HrsamError } from '../../lib/errors.js';
import { FolderSource } from '../../lib/train/samples/folder_source.js';
import { Mixture } from '../../lib/train/samples/mixture.js';
import { MosaicSource } from '../../lib/train/samples/mosaic_source.js';
import { prefetch } from '../../lib/train/samples/prefetch.js';
import { SceneSource } from '../../lib/train/samples/scene_source.js';
import { type LabelledObject, measure, type SampleSource } from '../../lib/train/samples/source.js';
import { codeOf, errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { noAugmentation, sampleDigest } from '../support/samples.js';
import { BLUE, discSet, GREEN, RED, SHAPES } from '../support/sets.js';

const root = scratch('hrsam-samples-')();

/** What sources of a test are called. */
const none = { name: 'test', unusable: 'nothing' };

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

beforeAll(async () => {
  await discSet(join(root, 'red'), RED, BLUE, SHAPES);
  await discSet(join(root, 'green'), GREEN, BLUE, [
    [70, 90],
    [110, 75],
  ]);
});

/** A disc that fills one channel, on black. */
function disc(channel: number): LabelledObject {
  const side = 80;
  const mask = new Uint8Array(side * side).map((_, i) =>
    ((i % side) - 40) ** 2 + (Math.floor(i / side) - 36) ** 2 < 30 ** 2 ? 1 : 0,
  );
  const data = new Uint8Array(3 * mask.length);
  mask.forEach((value, i) => {
    data[3 * i + channel] = 255 * value;
  });
  return {
    pixels: { data, width: side, height: side, channels: 3 },
    mask,
    ...measure(mask, side)!,
    others: [],
  };
}

async function mixture(options: Partial<ConstructorParameters<typeof Mixture>[1]> = {}) {
  return new Mixture(
    [
      { source: await FolderSource.open(join(root, 'red')), weight: 2 },
      { source: await FolderSource.open(join(root, 'green')), weight: 1 },
      { source: new SceneSource({ sides: [64, 96] }), weight: 1 },
    ],
    { seed: 7, size: 64, ...options },
  );
}

describe('Mixture', () => {
  it('makes sample k from seed and k alone', async () => {
    const first = await mixture();
    const inOrder: string[] = [];
    for await (const sample of prefetch((k) => first.sample(k), { to: 24, concurrency: 1 }))
      inOrder.push(sampleDigest(sample));
    const resumed: string[] = [];
    const second = await mixture();
    for await (const sample of prefetch((k) => second.sample(k), { from: 9, to: 24, concurrency: 6 }))
      resumed.push(sampleDigest(sample));
    expect(resumed).toEqual(inOrder.slice(9));
    expect(new Set(inOrder).size).toBe(24);
    expect(sampleDigest(await (await mixture({ seed: 8 })).sample(3))).not.toBe(inOrder[3]);
  });

  it('keeps image and mask aligned, whatever is pasted over what', async () => {
    // Red, green, blue, red …: up to three layers are told apart by their channel.
    let drawn = 0;
    const colours: SampleSource = { ...none, draw: async () => disc(drawn++ % 3) };
    const augment = { rotate: 0.5, stretch: 0.5, colour: 0, grey: 0, blur: 0, noise: 0, paste: 0.6 };
    const { options } = await mixture({ augment });
    const coloured = new Mixture([{ source: colours, weight: 1 }], options);
    const layers = new Set<number>();
    for (const k of numbers(60)) {
      const before = drawn;
      const { image, mask } = await coloured.sample(k);
      const count = drawn - before;
      layers.add(count);
      if (count > 3) continue;
      const inside = [0, 1, 2].map((channel) => {
        let sum = 0;
        mask.forEach((value, i) => {
          if (value === 1) sum += image.data[3 * i + channel]!;
        });
        return sum;
      });
      const own = inside.indexOf(Math.max(...inside));
      let [object, without, left] = [0, 0, 0];
      mask.forEach((value, i) => {
        const shade = image.data[3 * i + own]!;
        if (value === 1) object++;
        // Half of half of a colour in the darkest shadow.
        if (value === 1 && shade < 20) without++;
        if (value === 0 && shade > 200) left++;
      });
      expect({ k, without, left }).toEqual({ k, without: 0, left: 0 });
      expect(object).toBeGreaterThanOrEqual(32);
    }
    expect([...layers]).toEqual(expect.arrayContaining([1, 2, 3, 4]));
  });

  it('labels all of the object and nothing else without pasting', async () => {
    const { options } = await mixture({ augment: { colour: 0, grey: 0, blur: 0, noise: 0, paste: 0 } });
    const source = await FolderSource.open(join(root, 'red'));
    const red = new Mixture([{ source, weight: 1 }], options);
    const seen = { padded: 0, full: 0 };
    for (const k of numbers(40)) {
      const { image, mask, width, height } = await red.sample(k);
      seen[width < 64 || height < 64 ? 'padded' : 'full']++;
      mask.forEach((value, i) => {
        const [r, b] = [image.data[3 * i]!, image.data[3 * i + 2]!];
        const inside = i % 64 < width && Math.floor(i / 64) < height;
        if (!inside) expect([value, r, b]).toEqual([255, 0, 0]);
        else if (Math.abs(r - b) > 4) expect(value).toBe(r > b ? 1 : 0);
      });
    }
    expect(seen.padded).toBeGreaterThan(0);
    expect(seen.full).toBeGreaterThan(0);
  });

  it('labels further objects of the picture, with what hides them left out', async () => {
    // Beside the disk, each picture's ground is an object of its own, and so is an empty one, which is left out.
    const folder = join(root, 'several');
    await discSet(folder, RED, BLUE, [
      [120, 80],
      [90, 90],
    ]);
    const entries: { image: string; mask: string }[] = JSON.parse(
      await readFile(join(folder, 'index.json'), 'utf8'),
    );
    for (const { image, mask } of [...entries]) {
      const ground = mask.replace('_mask', '_ground');
      await sharp(join(folder, mask)).negate().toFile(join(folder, ground));
      entries.push({ image, mask: ground });
      const empty = mask.replace('_mask', '_empty');
      await sharp(join(folder, mask)).linear(0, 0).toFile(join(folder, empty));
      entries.push({ image, mask: empty });
    }
    await writeFile(join(folder, 'index.json'), JSON.stringify(entries));
    const errors: string[] = [];
    const source = await FolderSource.open(folder, { onCorrupt: ({ message }) => errors.push(message) });
    for (const [objects, paste] of [
      [1, 0],
      [2, 0],
      [4, 0],
      [4, 1],
    ] as const) {
      const several = new Mixture([{ source, weight: 1 }], {
        seed: 5,
        size: 64,
        objects,
        augment: { paste },
      });
      const found = new Set<number>();
      for (const k of numbers(12)) {
        const { mask, others } = await several.sample(k);
        found.add(others.length);
        for (const other of others) {
          expect(other.some((value) => value === 1)).toBe(true);
          other.forEach((value, i) => {
            expect(value === 255).toBe(mask[i] === 255);
            if (paste === 0 && mask[i] !== 255) expect(value).toBe(1 - mask[i]!);
            if (mask[i] === 1) expect(value).toBe(0);
          });
        }
      }
      expect(Math.max(...found)).toBe(objects === 1 ? 0 : objects === 2 || paste === 0 ? 1 : 2);
    }
    expect(errors.every((message) => message.includes('empty'))).toBe(true);
    expect(new Set(errors).size).toBe(errors.length);
  });

  it('resizes as the protocol does when nothing is augmented', async () => {
    const source = await FolderSource.open(join(root, 'red'));
    const plain = new Mixture([{ source, weight: 1 }], { seed: 1, size: 48, augment: noAugmentation });
    const sizes = new Set<string>();
    for (const k of numbers(12)) {
      const { image, width, height } = await plain.sample(k);
      sizes.add(`${width} x ${height}`);
      const entry = await Promise.all(numbers(4).map((i) => source.read(i)));
      const { pixels } = entry.find(
        ({ pixels: p }) => Math.abs((p.width * height) / (p.height * width) - 1) < 0.05,
      )!;
      let worst = 0;
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++)
          for (let c = 0; c < 3; c++) {
            const expected = bilinear(pixels.data, pixels.width, pixels.height, width, height, x, y, c);
            worst = Math.max(worst, Math.abs(expected - image.data[3 * (y * 48 + x) + c]!));
          }
      // Weights are whole 1/256.
      expect(worst).toBeLessThanOrEqual(2.5);
    }
    expect([...sizes].sort()).toEqual(['31 x 48', '48 x 14', '48 x 32', '48 x 48']);
  });

  it('mirrors, turns, greys, blurs and adds noise where it is told to', async () => {
    // The left half is the object, in yellow; the rest is blue.
    const side = 64;
    const mask = new Uint8Array(side * side).map((_, i) => (i % side < side / 2 ? 1 : 0));
    const data = new Uint8Array(3 * mask.length).map((_, i) =>
      mask[Math.floor(i / 3)] === (i % 3 < 2 ? 1 : 0) ? 200 : 20,
    );
    const half: LabelledObject = {
      pixels: { data, width: side, height: side, channels: 3 },
      mask,
      ...measure(mask, side)!,
      others: [],
    };
    const sample = (change: Partial<typeof noAugmentation>) => {
      const augment = { ...noAugmentation, ...change };
      return new Mixture([{ source: { ...none, draw: async () => half }, weight: 1 }], {
        seed: 1,
        size: side,
        augment,
      }).sample(0);
    };
    const plain = await sample({});
    expect([...plain.image.data]).toEqual([...data]);
    expect([...plain.mask]).toEqual([...mask]);
    const mirrored = await sample({ flip: 1 });
    expect([...mirrored.mask]).toEqual([...mask].reverse());
    expect([...mirrored.image.data.subarray(0, 3)]).toEqual([20, 20, 200]);
    const turned = await sample({ rotate: 1 });
    const widths = [...numbers(side)].map((y) =>
      turned.mask.subarray(y * side, y * side + side).reduce((sum, value) => sum + (value === 1 ? 1 : 0), 0),
    );
    // 20 degrees are 23 pixels of 64.
    const tilt = Math.abs(widths.at(-1)! - widths[0]!);
    expect(tilt).toBeGreaterThan(1);
    expect(tilt).toBeLessThan(25);
    const { image: grey } = await sample({ grey: 1 });
    expect(grey.data.every((value, i) => value === grey.data[i - (i % 3)])).toBe(true);
    for (const change of [{ blur: 1 }, { noise: 1 }, { colour: 1 }]) {
      const changed = await sample(change);
      expect([...changed.mask]).toEqual([...mask]);
      expect([...changed.image.data], JSON.stringify(change)).not.toEqual([...data]);
    }
  });

  it('makes a picture wider or narrower, its object with it, by no more than 1.4', async () => {
    const source: SampleSource = { ...none, draw: async () => disc(0) };
    const augment = { ...noAugmentation, stretch: 1 };
    const stretched = new Mixture([{ source, weight: 1 }], { seed: 1, size: 128, augment });
    const shapes: number[] = [];
    for (const k of numbers(24)) {
      const { mask, width, height } = await stretched.sample(k);
      const [x0, y0, x1, y1] = measure(
        mask.map((value) => (value === 1 ? 1 : 0)),
        128,
      )!.box;
      // The picture is square and the disc round.
      expect((x1 - x0) / (y1 - y0) / (width / height)).toBeCloseTo(1, 1);
      expect(Math.max(width, height)).toBe(128);
      shapes.push(width / height);
    }
    expect(Math.max(...shapes)).toBeGreaterThan(1.2);
    expect(Math.max(...shapes)).toBeLessThan(1.42);
    expect(Math.min(...shapes)).toBeLessThan(0.85);
    expect(Math.min(...shapes)).toBeGreaterThan(0.7);
  });

  it('says of which sets none of many objects can be used, and most often why', async () => {
    const of = async (name: string) => FolderSource.open(join(root, name));
    const sources = [
      { source: await of('red'), weight: 3 },
      { source: await of('green'), weight: 1 },
      { source: new SceneSource({ sides: [64, 96] }), weight: 0 },
    ];
    const mixed = new Mixture(sources, { seed: 1, size: 16, minPixels: 1000 });
    expect(await errorOf(() => mixed.sample(3))).toMatchObject({
      code: 'ERR_FILE',
      where: 'sample 3 of red, green',
      actual: expect.stringMatching(/^red: objects of less than 1000 pixels, 1\d\d times$/),
    });
    const mosaics = new MosaicSource(sources, { tiles: [2, 2] });
    const tiled = new Mixture([{ source: mosaics, weight: 1 }], { seed: 1, size: 64 });
    expect((await errorOf(() => tiled.sample(0))).message).toMatch(
      /mosaics of red, green.*: pictures without .* 256 x 256/,
    );
  });

  it('draws each source as often as its weight says, and never one of weight 0', async () => {
    const drawn = [0, 0, 0];
    const object = await (await FolderSource.open(join(root, 'red'))).read(0);
    const counting = (i: number) => ({
      ...none,
      draw: async () => {
        drawn[i]!++;
        return object;
      },
    });
    const mixed = new Mixture(
      [3, 0, 1].map((weight, i) => ({ source: counting(i), weight })),
      { seed: 3, size: 16, augment: noAugmentation, minPixels: 1 },
    );
    for (const k of numbers(400)) await mixed.sample(k);
    expect(drawn[1]).toBe(0);
    expect(drawn[0]! / drawn[2]!).toBeGreaterThan(2.2);
    expect(drawn[0]! / drawn[2]!).toBeLessThan(4.2);
  });

  it.each([
    [[], 64],
    [[0], 64],
    [[-1, 2], 64],
    [[Number.NaN], 64],
    [[1], 0],
    [[1], 10.5],
  ])('refuses weights %o with size %s', async (weights, size) => {
    const source = new SceneSource({ sides: [32, 32] });
    const make = () =>
      new Mixture(
        weights.map((weight) => ({ source, weight })),
        { seed: 1, size },
      );
    expect(await codeOf(make)).toBe('ERR_ARGUMENT');
  });
});

/** Half-pixel centres, edges repeated. */
function bilinear(
  data: Uint8Array,
  width: number,
  height: number,
  outWidth: number,
  outHeight: number,
  x: number,
  y: number,
  c: number,
): number {
  const axis = (i: number, from: number, to: number) => {
    const at = Math.min(from - 1, Math.max(0, ((i + 0.5) * from) / to - 0.5));
    const low = Math.floor(at);
    return [low, Math.min(low + 1, from - 1), at - low] as const;
  };
  const [x0, x1, fx] = axis(x, width, outWidth);
  const [y0, y1, fy] = axis(y, height, outHeight);
  const at = (row: number, column: number) => data[3 * (row * width + column) + c]!;
  return (
    (1 - fy) * ((1 - fx) * at(y0, x0) + fx * at(y0, x1)) + fy * ((1 - fx) * at(y1, x0) + fx * at(y1, x1))
  );
}

const REAL = join(import.meta.dirname, '../../../shared/data/train/ecssd');

describe.runIf(existsSync(REAL))('photographs', () => {
  it('become samples, all of them usable', async () => {
    const onCorrupt = (error: HrsamError) => {
      throw error;
    };
    const source = await FolderSource.open(REAL, { onCorrupt });
    const mixed = new Mixture([{ source, weight: 1 }], { seed: 1, size: 128 });
    for await (const { image, mask, width, height } of prefetch((k) => mixed.sample(k), { to: 40 })) {
      expect(image.data.length).toBe(3 * 128 * 128);
      expect(Math.max(width, height)).toBe(128);
      const values = new Set(mask);
      expect(values.has(1)).toBe(true);
      expect(values.has(255)).toBe(width < 128 || height < 128);
    }
  });
});
