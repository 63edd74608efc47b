import { beforeAll, describe, expect, it } from 'vitest';
import type { Size } from '../../lib/image/resize.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import type { EncodedImage, SegmentOptions } from '../../lib/predictor/image.js';
import type { Prompt } from '../../lib/predictor/prompts.js';
import { keepClicked } from '../../lib/predictor/regions.js';
import { Rng } from '../../lib/rng.js';
import { writeTiny } from '../cli/support.js';
import { errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { device } from '../support/run.js';
import { contents, picture, randomModel } from './support/models.js';

/** `#` is mask, with a logit of 2; all else has -3. */
const logitsOf = (...rows: string[]) =>
  Float32Array.from(rows.flatMap((row) => [...row].map((cell) => (cell === '#' ? 2 : -3))));
const drawn = (logits: Float32Array, width: number) =>
  Array.from({ length: logits.length / width }, (_, y) =>
    Array.from(logits.subarray(y * width, (y + 1) * width), (v) => (v > 0 ? '#' : '.')).join(''),
  );
/** The logits that are left of so many columns, of which a part is picture. */
async function dropRegions(
  logits: Float32Array,
  columns: number,
  size: Size,
  clicks: readonly (readonly [number, number])[],
  share: number,
): Promise<Float32Array> {
  using tensor = device.tensor([1, logits.length / columns, columns], 'f32', logits);
  await device.dropRegions(tensor, 0, size, clicks, share);
  return ((await tensor.data()) as Float32Array).slice();
}
const drop = async (rows: string[], clicks: [number, number][], share: number) => {
  const width = rows[0]!.length;
  const size = { height: rows.length, width };
  return drawn(await dropRegions(logitsOf(...rows), width, size, clicks, share), width);
};

describe('regions of a mask apart from its clicks', () => {
  const rows = [
    '##..#', //
    '##...',
    '...##',
    '#..##',
    '#....',
  ];

  it('are taken off where they are smaller than the share of the clicked one', async () => {
    const all = ['##...', '##...', '...##', '...##', '.....'];
    expect(await drop(rows, [[0, 1]], 1)).toEqual(all);
    expect(await drop(rows, [[0, 1]], 0.75)).toEqual(all);
    // Two cells are half of four, one is less.
    expect(await drop(rows, [[0, 1]], 0.5)).toEqual(['##...', '##...', '...##', '#..##', '#....']);
    expect(await drop(rows, [[0, 1]], 0.25)).toEqual(rows);
  });

  it('change the sign of their logits, and nothing else changes', async () => {
    const before = logitsOf(...rows);
    const after = await dropRegions(before, 5, { height: 5, width: 5 }, [[0, 1]], 1);
    expect([...after.keys()].filter((i) => after[i] !== before[i])).toEqual([4, 15, 20]);
    expect([4, 15, 20].map((i) => after[i])).toEqual([-2, -2, -2]);
  });

  it('are of the mask asked for, of all there are', async () => {
    const data = logitsOf('##.#', '##.#');
    using tensor = device.tensor([2, 1, 4], 'f32', data);
    await device.dropRegions(tensor, 1, { height: 1, width: 4 }, [[0, 0]], 1);
    expect(drawn((await tensor.data()) as Float32Array, 4)).toEqual(['##.#', '##..']);
  });

  it('stay where a click is on them, whatever their size; the largest clicked one counts', async () => {
    expect(await drop(rows, [[4, 0]], 1)).toEqual(rows);
    const clicks: [number, number][] = [
      [4, 0],
      [4, 3],
    ];
    expect(await drop(rows, clicks, 1)).toEqual(['##..#', '##...', '...##', '...##', '.....']);
  });

  it('stay where no click is on the mask', async () => {
    expect(await drop(rows, [[2, 2]], 1)).toEqual(rows);
    expect(await drop(rows, [], 1)).toEqual(rows);
  });

  it('are connected by corners, and around what is not mask', async () => {
    // Interpolated between four cells the mask is connected where its two weigh more than the others: 2 · 2 > 1 · 1.
    const corners = async (outside: number, click: [number, number], ...rows: string[]) => {
      const logits = logitsOf(...rows).map((v) => (v > 0 ? v : outside));
      return drawn(await dropRegions(logits, 4, { height: 2, width: 4 }, [click], 1), 4);
    };
    expect(await corners(-1, [0, 0], '##..', '..#.')).toEqual(['##..', '..#.']);
    expect(await corners(-3, [0, 0], '##..', '..#.')).toEqual(['##..', '....']);
    expect(await corners(-1, [3, 0], '..##', '.#..')).toEqual(['..##', '.#..']);
    expect(await corners(-3, [3, 0], '..##', '.#..')).toEqual(['..##', '....']);
    const joined = ['##.##', '.###.', '.....', '#####', '#...#', '#.#.#'];
    expect(await drop(joined, [[0, 0]], 1)).toEqual(joined.with(5, '#...#'));
    const around = ['#.#', '#.#', '###'];
    expect(await drop(around, [[2, 0]], 1)).toEqual(around);
  });

  it('are those that a flood fill finds, of the picture’s rows and columns alone', async () => {
    const draws = new Rng(3);
    for (let n = 0; n < 200; n++) {
      const [height, width, stride] = [1 + draws.below(12), 1 + draws.below(12), 14];
      const logits = Float32Array.from({ length: 14 * stride }, () => draws.uniform(-1, 0.8));
      const clicks = [0, 1].map(() => [draws.below(width), draws.below(height)] as const);
      const share = draws.uniform(0, 1);
      const expected = flooded(logits, stride, height, width, clicks, share);
      expect(await dropRegions(logits, stride, { height, width }, clicks, share)).toEqual(expected);
    }
  });
});

/** The same, cell by cell. */
function flooded(
  logits: Float32Array,
  stride: number,
  height: number,
  width: number,
  clicks: readonly (readonly [number, number])[],
  share: number,
): Float32Array {
  const seen = new Set<number>();
  const regions: number[][] = [];
  const inside = (x: number, y: number) => x >= 0 && y >= 0 && x < width && y < height;
  for (let y = 0; y < height; y++)
    for (let x = 0; x < width; x++) {
      const region: number[] = [];
      const next = [[x, y] as [number, number]];
      while (next.length > 0) {
        const [u, v] = next.pop()!;
        const i = v * stride + u;
        if (!inside(u, v) || seen.has(i) || !(logits[i]! > 0)) continue;
        seen.add(i);
        region.push(i);
        for (const dy of [-1, 0, 1])
          for (const dx of [-1, 0, 1]) {
            const [x, y] = [u + dx, v + dy];
            const among = (a: number, b: number) => logits[b * stride + a]!;
            if (dx * dy === 0 || !inside(x, y) || among(u, v) * among(x, y) > among(x, v) * among(u, y))
              next.push([x, y]);
          }
      }
      if (region.length > 0) regions.push(region);
    }
  const clicked = regions.filter((region) => clicks.some(([x, y]) => region.includes(y * stride + x)));
  const least = share * Math.max(...clicked.map(({ length }) => length));
  const result = logits.slice();
  for (const region of regions)
    if (clicked.length > 0 && !clicked.includes(region) && region.length < least)
      for (const i of region) result[i] = -result[i]!;
  return result;
}

describe.each(['hrsam-tiny', 'sam-tiny'])('minRegion, %s', (preset) => {
  let model: HRSAM;
  let image: EncodedImage;
  const [HEIGHT, WIDTH] = [90, 150];
  beforeAll(async () => {
    model = await randomModel(preset);
    image = await model.encode(picture(HEIGHT, WIDTH));
    return () => image.dispose();
  });
  /** Clicks that are on the mask they lead to, and leave more than one region. */
  const points = async () => {
    for (let x = 5; x < WIDTH; x += 10)
      for (let y = 5; y < HEIGHT; y += 10) {
        const prompt: Prompt = { points: [[x, y]] };
        const [plain] = await image.segment({ ...prompt, minRegion: 0 });
        const [kept] = await image.segment({ ...prompt, minRegion: 1 });
        if (kept!.area < plain!.area) return { prompt, plain: plain!, kept: kept!, x, y };
      }
    throw new Error('no click leads to a mask of several regions');
  };

  it('leaves of a mask what a click is on, in its pixels and its logits', async () => {
    const { plain, kept, prompt, x, y } = await points();
    const [before, after] = [plain.pixels(), kept.pixels()];
    // The picture's part of the logits.
    const { height, width, data } = kept.logits;
    const scale = (width * image.resized.width) / image.input.width / WIDTH;
    const size = { height: Math.ceil(HEIGHT * scale), width: Math.ceil(WIDTH * scale) };
    // A click is on what any of the four cells around it is part of.
    const [left, top] = [Math.floor(x * scale - 0.5), Math.floor(y * scale - 0.5)];
    const cells = [0, 1].flatMap((dy) => [0, 1].map((dx) => [left + dx, top + dy] as const));
    expect(data).toEqual(await dropRegions(plain.logits.data, width, size, cells, 1));
    expect(data).toHaveLength(height * width);
    expect(after[y * WIDTH + x]).toBe(before[y * WIDTH + x]);
    expect(after.every((pixel, i) => pixel <= before[i]!)).toBe(true);
    expect(kept.score).toBe(plain.score);
    // Among others it is what it is alone.
    const [, [second]] = (await image.segment([{ box: [0, 0, 9, 9] }, prompt], { minRegion: 1 })) as [
      unknown,
      [typeof kept],
    ];
    expect(contents(second)).toEqual(contents(kept));
  });

  it.each([
    [94, 150],
    [150, 94],
  ])('leaves nothing of what it takes off at the edge of the padding, of %i x %i', async (high, wide) => {
    using other = await model.encode(picture(high, wide));
    const [{ logits }] = await other.segment({ points: [[1, 1]] });
    const { height, width } = logits;
    const cells = (side: 'height' | 'width') => (height * other.resized[side]) / other.input.height;
    const [rows, columns] = [Math.ceil(cells('height')), Math.ceil(cells('width'))];
    const data = new Float32Array(height * width).fill(-3);
    const fill = (x: number, y: number, value: number) => data.fill(value, y * width + x, y * width + x + 1);
    for (const i of [0, 1, 2, 3, 4, 5]) for (const k of [0, 1]) fill(k, i, 2);
    // Faint in the picture, certain beyond.
    fill(columns - 1, rows - 1, 1);
    for (const y of [rows - 1, rows])
      for (const x of [columns - 1, columns])
        if (y < height && x < width && (y === rows || x === columns)) fill(x, y, 9);
    const { network } = other;
    using tensor = device.tensor([1, 1, height, width], 'f32', data);
    const decoded = { logits: tensor, ious: new Float32Array(1), masksPerPrompt: 1, sparseEntries: [2] };
    const regions = async () => {
      using mask = await network.threshold(tensor, [0, 1], other);
      const pixels = (await mask.data()) as Uint8Array;
      return { clicked: pixels[wide + 1], edge: pixels.subarray(-2).some(Boolean) };
    };
    expect(await regions()).toEqual({ clicked: 1, edge: true });
    await keepClicked(decoded, [{ points: [[1, 1]] }], other, 1);
    expect(await regions()).toEqual({ clicked: 1, edge: false });
  });

  it('takes background clicks for none, and boxes as they are', async () => {
    const { prompt, plain } = await points();
    const background = { ...prompt, labels: [0] };
    const box = { box: [10, 5, 120, 80] } as const;
    for (const one of [background, box])
      expect((await image.segment({ ...one, minRegion: 1 })).map(contents)).toEqual(
        (await image.segment({ ...one, minRegion: 0 })).map(contents),
      );
    // Published weights ask for none.
    expect((await image.segment(prompt)).map(contents)).toEqual([contents(plain)]);
  });

  it.runIf(preset === 'hrsam-tiny')('is what the weights say, in click sessions too', async () => {
    const path = scratch('hrsam-')('regions.safetensors');
    await writeTiny(path, { decoder: { minRegion: 1 } });
    using other = await HRSAM.load(path, { device });
    using own = await other.encode(picture(HEIGHT, WIDTH));
    const { prompt, plain, kept, x, y } = await points();
    expect((await own.segment(prompt)).map(contents)).toEqual([contents(kept)]);
    expect((await own.segment({ ...prompt, minRegion: 0 })).map(contents)).toEqual([contents(plain)]);
    const session = own.session();
    expect(contents(await session.click(x, y))).toEqual(contents(kept));
    // The next click goes on from what was left.
    const two = { points: [[x, y] as const, [1, 1] as const], labels: [1, 0], mask: kept.logits };
    expect(contents(await session.click(1, 1, 0))).toEqual(
      contents((await image.segment({ ...two, minRegion: 1 }))[0]!),
    );
  });

  it('is for one mask per prompt', async () => {
    const { prompt } = await points();
    const ask = async (options: SegmentOptions) =>
      (await image.segment({ ...prompt, ...options })).map(contents);
    for (const multimask of [true, 'best', 'auto'] as const)
      expect(await ask({ multimask, minRegion: 1 })).toEqual(await ask({ multimask }));
  });

  it.each([-0.1, 1.1, Number.NaN, '1', null])('%j is none', async (minRegion) => {
    const error = await errorOf(() => image.segment({ points: [[1, 1]], minRegion: minRegion as number }));
    expect(error).toMatchObject({ code: 'ERR_ARGUMENT' });
    expect(error.message).toMatch(/minRegion; expected a number from 0 to 1/);
  });
});
