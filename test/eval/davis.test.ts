// DAVIS and its offspring as they are published, a few pixels small.
import { describe, expect, it } from 'vitest';
import { openDataSet } from '../../lib/eval/data/open.js';
import { codeOf, errorOf } from '../support/errors.js';
import {
  area,
  H,
  inBox,
  left,
  names,
  objectsOf,
  only,
  type Paint,
  right,
  sample,
  W,
  white,
} from './support.js';

describe('DAVIS', () => {
  it('frames of a list, everything that moves is the object', async () => {
    const files = sample();
    for (const frame of ['bear/00000', 'bear/00010', 'goat/00000', 'kite/00003']) {
      await files.picture(`JPEGImages/480p/${frame}.jpg`, W, H);
      await files.picture(`Annotations/480p/${frame}.png`, W, H, (x, y) =>
        left(x, y) ? [128, 0, 0] : right(x, y) ? [0, 64, 0] : [0, 0, 0],
      );
    }
    await files.picture('Annotations/1080p/bear/00000.png', W, H, white(left));
    const data = await openDataSet(files.folder);
    expect([data.format, names(data).length]).toEqual(['davis', 4]);
    const [object] = Object.values(await objectsOf(data.pictures[0]!));
    expect(area(object!.mask)).toBe(37);
    // DAVIS 2016 lists frames, its later releases sequences.
    files.write(
      'ImageSets/480p/val.txt',
      '/JPEGImages/480p/goat/00000.jpg /Annotations/480p/goat/00000.png\n',
    );
    expect(names(await openDataSet(files.folder))).toEqual(['goat/00000.jpg']);
    files.write('ImageSets/480p/val.txt', 'bear\nkite\n');
    expect(names(await openDataSet(files.folder))).toEqual([
      'bear/00000.jpg',
      'bear/00010.jpg',
      'kite/00003.jpg',
    ]);
    files.write('davis_345.txt', 'bear/00010\nkite/00003.jpg\n');
    expect(names(await openDataSet(files.folder))).toEqual(['bear/00010.jpg', 'kite/00003.jpg']);
  });

  it('a list that is not there is an error that tells what is', async () => {
    const files = sample();
    await files.picture('JPEGImages/480p/bear/00000.jpg', W, H);
    await files.picture('Annotations/480p/bear/00000.png', W, H, white(left));
    files.write('ImageSets/2016/val.txt', 'bear\n');
    files.write('ImageSets/2016/train.txt', 'goat\n');
    expect(names(await openDataSet(files.folder, 'auto', { split: 'val' }))).toHaveLength(1);
    const { message } = await errorOf(() => openDataSet(files.folder, 'auto', { split: 'tset' }));
    expect(message).toContain('there are 2016/train, 2016/val');
    expect(await codeOf(() => openDataSet(files.folder, 'auto', { split: 'train' }))).toBe('ERR_FILE');
    files.write('345.txt', 'bear_00000.jpg\n');
    expect(names(await openDataSet(files.folder))).toEqual(['bear/00000.jpg']);
  });

  it('2017: each instance, and what nobody decided about', async () => {
    const files = sample();
    const band = inBox(0, 6, 3, 8);
    await files.picture('JPEGImages/480p/bear/00000.jpg', W, H);
    files.write('ImageSets/2016/val.txt', 'bear\n');
    files.write('ImageSets/2017/val.txt', 'bear\n');
    const palettes: [Paint, string][] = [
      [(x, y) => [left(x, y) ? 1 : right(x, y) ? 2 : band(x, y) ? 255 : 0], 'grey'],
      [
        (x, y) =>
          left(x, y) ? [128, 0, 0] : right(x, y) ? [0, 128, 0] : band(x, y) ? [224, 224, 192] : [0, 0, 0],
        'colours',
      ],
    ];
    for (const [paint] of palettes) {
      await files.picture('Annotations/480p/bear/00000.png', W, H, paint);
      const each = await only(files.folder, 'davis', '2017/val');
      expect(
        Object.entries(each.objects).map(([name, { mask, ignore }]) => [name, area(mask), area(ignore!)]),
      ).toEqual([
        ['00000.png:1', 12, 6],
        ['00000.png:2', 25, 6],
      ]);
      const together = await only(files.folder);
      const { mask, ignore } = together.objects['00000.png']!;
      expect([area(mask), area(ignore!)]).toEqual([37, 6]);
    }
    // One that is not in the frame has its number all the same.
    await files.picture('Annotations/480p/bear/00000.png', W, H, (x, y) => [0, right(x, y) ? 128 : 0, 0]);
    expect(Object.keys((await only(files.folder, 'davis', '2017/val')).objects)).toEqual(['00000.png:2']);
  });

  it('unsupervised: each instance, alone or beside the other annotations', async () => {
    const files = sample();
    for (const name of ['bear', 'goat']) {
      await files.picture(`JPEGImages/480p/${name}/00000.jpg`, W, H);
      await files.picture(`Annotations_unsupervised/480p/${name}/00000.png`, W, H, (x, y) =>
        left(x, y) ? [128, 0, 0] : right(x, y) ? [0, 128, 0] : [0, 0, 0],
      );
    }
    files.write('ImageSets/2017/val.txt', 'bear\n');
    const alone = await only(files.folder);
    expect(alone.data.format).toBe('davis');
    expect(Object.values(alone.objects).map(({ mask }) => area(mask))).toEqual([12, 25]);
    await files.picture('Annotations/480p/bear/00000.png', W, H, white(left));
    files.write('ImageSets/2016/val.txt', 'bear\n');
    expect(Object.keys((await only(files.folder)).objects)).toEqual(['00000.png']);
    const beside = await only(files.folder, 'davis', 'unsupervised/val');
    expect(Object.keys(beside.objects)).toEqual(['00000.png:1', '00000.png:2']);
    files.write('ImageSets/2017/train.txt', 'goat\n');
    expect(names(await openDataSet(files.folder, 'auto', { split: 'unsupervised/train' }))).toEqual([
      'goat/00000.jpg',
    ]);
  });

  it('DAVIS-585: objects of frames, without the masks to begin with', async () => {
    const files = sample();
    for (const frame of ['bear/00009', 'goat/00042', 'goat/00051']) await files.picture(`${frame}.jpg`, W, H);
    for (const [mask, paint] of [
      ['bear/object1_00009.png', left],
      ['goat/object1_00042.png', left],
      ['goat/object2_00042.png', right],
    ] as const) {
      await files.picture(mask, W, H, white(paint));
      for (const by of ['sp', 'stm'])
        await files.picture(mask.replace('/', `/init_${by}_`), W, H, white(inBox(0, 1, 0, 1)));
    }
    const data = await openDataSet(files.folder);
    expect([data.format, ...names(data)]).toEqual(['davis585', 'bear/00009.jpg', 'goat/00042.jpg']);
    const objects = await objectsOf(data.pictures[1]!);
    expect(Object.entries(objects).map(([name, { mask }]) => [name, area(mask)])).toEqual([
      ['object1_00042.png', 12],
      ['object2_00042.png', 25],
    ]);
    expect((await data.pictures[1]!.read()).width).toBe(W);
  });

  it('the folder that the set is in may have any name', async () => {
    const files = sample();
    await files.picture('2017/JPEGImages/480p/bear/00000.jpg', W, H);
    await files.picture('2017/Annotations/480p/bear/00000.png', W, H, (x, y) => [
      left(x, y) ? 1 : right(x, y) ? 2 : 0,
    ]);
    files.write('2017/ImageSets/2016/val.txt', 'bear\n');
    expect(Object.keys((await only(files.path('2017'))).objects)).toEqual(['00000.png']);
  });

  it('the frames as interactive segmentation passes them on', async () => {
    const files = sample();
    await files.picture('img/bear_00000.jpg', W, H);
    await files.picture('gt/bear_00000.png', W, H, (x, y) => [left(x, y) ? 40 : 0]);
    const { data, objects } = await only(files.folder);
    expect(data.format).toBe('davis');
    expect(area(objects['bear_00000.png']!.mask)).toBe(12);
    // Numbered, 255 is what nobody decided about; with soft edges it is the object.
    for (const [edge, inside] of [
      [1, 12],
      [90, 37],
    ] as const) {
      await files.picture('gt/bear_00000.png', W, H, (x, y) => [left(x, y) ? edge : right(x, y) ? 255 : 0]);
      const { mask, ignore } = (await only(files.folder)).objects['bear_00000.png']!;
      expect([area(mask), ignore && area(ignore)]).toEqual([inside, edge === 1 ? 25 : undefined]);
    }
    await files.picture('img/goat_00000.jpg', W, H);
    await files.picture('gt/goat_00000#001.png', W, H, white(left));
    expect(await codeOf(() => openDataSet(files.folder, 'auto', { split: 'val' }))).toBe('ERR_FILE');
    files.write('list/val.txt', 'goat_00000\n');
    const listed = await openDataSet(files.folder, 'auto', { split: 'val' });
    expect(names(listed)).toEqual(['goat_00000.jpg']);
  });
});
