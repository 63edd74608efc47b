// Every layout as its authors publish it, a few pixels small; COCO's and DAVIS' have files of their own.
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, renameSync, symlinkSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openDataSet } from '../../lib/eval/data/open.js';
import { DATA_FORMATS } from '../../lib/eval/formats.js';
import { codeOf, errorOf } from '../support/errors.js';
import { area, H, left, names, objectsOf, only, right, rows, sample, W, white } from './support.js';

describe('folders', () => {
  it('images and masks of the same names, several masks numbered', async () => {
    const files = sample();
    await files.picture('images/cat.jpg', W, H);
    await files.picture('images/two__cats.png', W, H);
    await files.picture('images/unlabelled.jpg', W, H);
    await files.picture('masks/cat.png', W, H, white(left));
    await files.picture('masks/two__cats__0.png', W, H, white(left));
    await files.picture('masks/two__cats__1.png', W, H, white(right));
    await files.picture('masks/cat__left_ear.png', W, H, white(right));
    await files.picture('masks/dog.png', W, H, white(right));
    const data = await openDataSet(files.folder);
    expect([data.format, ...names(data)]).toEqual(['folder', 'cat.jpg', 'two__cats.png', 'dog.png']);
    expect(Object.keys(await objectsOf(data.pictures[0]!))).toEqual(['cat.png', 'cat__left_ear.png']);
    expect((await errorOf(() => data.pictures[2]!.read())).message).toContain('a mask without a picture');
    expect(await codeOf(() => openDataSet(files.folder, 'auto', { split: 'val' }))).toBe('ERR_ARGUMENT');
    const found = await objectsOf(data.pictures[1]!);
    expect(Object.keys(found)).toEqual(['two__cats__0.png', 'two__cats__1.png']);
    expect(rows(found['two__cats__1.png']!.mask)[2]).toBe('......#####.');
    expect(area(found['two__cats__0.png']!.mask)).toBe(12);
  });

  it('index.json: one entry per object, a corrupt one costs only itself', async () => {
    const files = sample();
    await files.picture('images/a.jpg', W, H);
    await files.picture('masks/a__0.png', W, H, white(left));
    await files.picture('masks/a__1.png', W, H, white(right));
    const image = 'images/a.jpg';
    files.json('index.json', [
      { image, mask: 'masks/a__0.png', width: W, height: H },
      { image, mask: 'masks/none.png', width: W, height: H },
      { image, mask: 'masks/a__1.png', width: W + 1, height: H },
      { image, mask: '../../etc/passwd' },
      { image, mask: 'masks/a__1.png' },
    ]);
    for (const root of [files.folder, files.path('index.json')]) {
      const data = await openDataSet(root);
      expect([data.format, ...names(data)]).toEqual(['index', image]);
      const list = await data.pictures[0]!.objects();
      expect(area((await list[0]!.read()).mask)).toBe(12);
      expect(await codeOf(() => list[1]!.read())).toBe('ERR_FILE');
      expect(await codeOf(() => list[2]!.read())).toBe('ERR_IMAGE');
      expect((await errorOf(() => list[3]!.read())).message).toContain('out of the folder');
      expect(area((await list[4]!.read()).mask)).toBe(25);
    }
    files.json('index.json', [7, { image }, null]);
    for (const [i, picture] of (await openDataSet(files.folder)).pictures.entries()) {
      const { code, message } = await errorOf(() => picture.read());
      expect([code, message]).toEqual(['ERR_FILE', expect.stringContaining(`entry ${i}: not an entry`)]);
    }
    files.json('index.json', { image });
    expect(await codeOf(() => openDataSet(files.folder))).toBe('ERR_FILE');
    files.write('index.json', '[');
    expect(await codeOf(() => openDataSet(files.folder))).toBe('ERR_FILE');
  });
});

describe.runIf(process.platform !== 'win32')('links and pipes', () => {
  it('links to folders are followed, but not in circles; a pipe is no file', async () => {
    const files = sample();
    await files.picture('elsewhere/bear/00000.png', W, H, white(left));
    await files.picture('davis/JPEGImages/480p/bear/00000.jpg', W, H);
    mkdirSync(files.path('davis/Annotations'));
    symlinkSync('../../elsewhere', files.path('davis/Annotations/480p'));
    symlinkSync('..', files.path('elsewhere/bear/back'));
    const { objects } = await only(files.path('davis'));
    expect(area(objects['00000.png']!.mask)).toBe(12);
    await files.picture('folder/images/a.jpg', W, H);
    mkdirSync(files.path('folder/masks'));
    for (const name of ['a.png', 'a__1.bmp'])
      expect(spawnSync('mkfifo', [files.path(`folder/masks/${name}`)]).status).toBe(0);
    const [picture] = (await openDataSet(files.path('folder'))).pictures;
    const piped = await picture!.objects();
    expect(piped).toHaveLength(2);
    for (const { read } of piped)
      expect((await errorOf(() => read())).message).toContain('not a regular file');
  });
});

describe('maps of instances', () => {
  it('Cityscapes: numbers from 1000 on', async () => {
    const files = sample();
    const name = 'lindau_000000_000019';
    await files.picture(`leftImg8bit/val/lindau/${name}_leftImg8bit.png`, W, H);
    await files.deep(`gtFine/val/lindau/${name}_gtFine_instanceIds.png`, W, H, (x, y) =>
      left(x, y) ? 26001 : right(x, y) ? 24000 : y === 0 ? 26 : 7,
    );
    const { data, picture, objects } = await only(files.folder);
    expect(data.format).toBe('cityscapes');
    expect((await picture.objects()).map(({ category }) => category)).toEqual([24, 26]);
    expect(Object.values(objects).map(({ mask }) => area(mask))).toEqual([25, 12]);
    expect(await codeOf(() => openDataSet(files.folder, 'cityscapes', { split: 'test' }))).toBe('ERR_FILE');
  });

  it('ADE20K: class in red and green, instance in blue', async () => {
    const files = sample();
    const folder = 'images/ADE/validation/urban/street';
    await files.picture(`${folder}/ADE_val_00000001.jpg`, W, H);
    // Class 513 = 2 · 256 + 1, class 40; an instance number without a class is none.
    await files.picture(`${folder}/ADE_val_00000001_seg.png`, W, H, (x, y) =>
      left(x, y) ? [20, 1, 1] : right(x, y) ? [0, 40, 2] : [0, 0, y],
    );
    await files.picture(`${folder}/ADE_val_00000001_parts_1.png`, W, H);
    const { data, picture, objects } = await only(files.folder);
    expect(data.format).toBe('ade20k');
    expect((await picture.objects()).map(({ category }) => category)).toEqual([40, 513]);
    expect(Object.values(objects).map(({ mask }) => area(mask))).toEqual([25, 12]);
    expect(names(await openDataSet(files.path('images/ADE/validation'), 'ade20k'))).toHaveLength(1);
    // The release of 2016 has one folder less.
    renameSync(files.path('images/ADE'), files.path('moved'));
    renameSync(files.path('moved/validation'), files.path('images/validation'));
    expect((await only(files.folder)).data.format).toBe('ade20k');
    const other = sample();
    await other.picture('images/validation/a.jpg', W, H);
    expect(await codeOf(() => openDataSet(other.folder))).toBe('ERR_FILE');
  });

  it('ADE20K: the instances of the scene parsing challenge', async () => {
    const files = sample();
    await files.picture('images/validation/ADE_val_00000001.jpg', W, H);
    await files.picture('annotations_instance/validation/ADE_val_00000001.png', W, H, (x, y) =>
      left(x, y) ? [3, 1, 0] : right(x, y) ? [3, 2, 0] : [0, 0, 0],
    );
    const { data, objects } = await only(files.folder);
    expect(data.format).toBe('ade20k');
    expect(Object.values(objects).map(({ mask }) => area(mask))).toEqual([12, 25]);
  });

  it('ADE20K: without instances, the region of each class', async () => {
    const files = sample();
    await files.picture('images/validation/ADE_val_00000001.jpg', W, H);
    await files.picture('annotations/validation/ADE_val_00000001.png', W, H, (x, y) => [
      left(x, y) ? 150 : right(x, y) ? 1 : 0,
    ]);
    const { data, picture, objects } = await only(files.folder);
    expect(data.format).toBe('ade20k');
    expect((await picture.objects()).map(({ category }) => category)).toEqual([1, 150]);
    expect(Object.values(objects).map(({ mask }) => area(mask))).toEqual([25, 12]);
  });
});

describe('one mask file per object', () => {
  it('HQSeg-44K: four parts, one of them, or the folder of one', async () => {
    const files = sample();
    const thin = 'thin_object_detection';
    const places = [
      ['DIS5K/DIS-VD/im', 'DIS5K/DIS-VD/gt'],
      [`${thin}/COIFT/images`, `${thin}/COIFT/masks`],
      [`${thin}/HRSOD/images`, `${thin}/HRSOD/masks_max255`],
      [`${thin}/ThinObject5K/images_test`, `${thin}/ThinObject5K/masks_test`],
    ];
    for (const [images, masks] of places) {
      await files.picture(`${images}/x.jpg`, W, H);
      await files.picture(`${masks}/x.png`, W, H, white(left));
    }
    const data = await openDataSet(files.folder);
    expect([data.format, ...names(data)]).toEqual([
      'hqseg',
      'DIS5K-VD/x.jpg',
      'COIFT/x.jpg',
      'HRSOD/x.jpg',
      'ThinObject5K/x.jpg',
    ]);
    for (const picture of data.pictures) expect(area((await objectsOf(picture))['x.png']!.mask)).toBe(12);
    await files.picture('DIS5K/DIS-VD/gt/x.png', W, H, (x, y) => [left(x, y) ? 255 : right(x, y) ? 9 : 0]);
    const soft = await objectsOf((await openDataSet(files.folder)).pictures[0]!);
    expect(area(soft['x.png']!.mask)).toBe(37);
    const unknown = await errorOf(() => openDataSet(files.folder, 'hqseg', { split: 'DIS' }));
    expect(unknown.message).toContain('a split of DIS5K-VD, COIFT, HRSOD, ThinObject5K');
    const one = await openDataSet(files.folder, 'hqseg', { split: 'hrsod' });
    expect(names(one)).toEqual(['HRSOD/x.jpg']);
    expect(names(await openDataSet(files.path('DIS5K/DIS-VD')))).toEqual(['DIS5K-VD/x.jpg']);
    expect(names(await openDataSet(files.path(`${thin}/ThinObject5K`)))).toEqual(['ThinObject5K/x.jpg']);
    // A part by its name alone, with its rule for soft edges.
    await files.picture(`${thin}/COIFT/masks/x.png`, W, H, (x, y) => [
      left(x, y) ? 255 : right(x, y) ? 9 : 0,
    ]);
    const coift = await only(`${files.path(thin)}/COIFT/`);
    expect(coift.data.format).toBe('hqseg');
    expect(area(coift.objects['x.png']!.mask)).toBe(37);
    renameSync(files.path(`${thin}/COIFT`), files.path(`${thin}/other`));
    expect((await only(files.path(`${thin}/other`))).data.format).toBe('folder');
  });

  it('GrabCut: bitmaps, and a band that nobody decided about', async () => {
    const files = sample();
    await files.picture('data_GT/person.bmp', W, H);
    await files.picture('boundary_GT/person.bmp', W, H, (x, y) => {
      const value = left(x, y) ? 255 : x === 5 ? 128 : 0;
      return [value, value, value];
    });
    const { data, objects } = await only(files.folder);
    expect(data.format).toBe('grabcut');
    const { mask, ignore } = objects['person.bmp']!;
    expect([area(mask), area(ignore!)]).toEqual([12, H]);
  });

  it('Berkeley: one or several objects of a picture', async () => {
    const files = sample();
    await files.picture('images/12003.jpg', W, H);
    await files.picture('images/157032.jpg', W, H);
    await files.picture('masks/12003.png', W, H, white(left));
    await files.picture('masks/157032#1.png', W, H, white(left));
    await files.picture('masks/157032#2.png', W, H, white(right));
    const data = await openDataSet(files.folder, 'berkeley');
    expect(names(data)).toEqual(['12003.jpg', '157032.jpg']);
    expect(Object.values(await objectsOf(data.pictures[1]!)).map(({ mask }) => area(mask))).toEqual([12, 25]);
  });

  it('BSDS500: segments of the first annotator, tiny ones left out', async () => {
    const files = sample();
    const mat = readFileSync(fileURLToPath(new URL('../fixtures/eval/bsds_compressed.mat', import.meta.url)));
    await files.picture('BSDS500/data/images/test/2018.jpg', 10, 6);
    files.write('BSDS500/data/groundTruth/test/2018.mat', mat);
    files.write('BSDS500/data/groundTruth/test/3063.mat', mat.subarray(0, 200));
    const data = await openDataSet(files.folder);
    expect([data.format, ...names(data)]).toEqual(['bsds500', '2018.jpg', '3063.jpg']);
    const objects = await objectsOf(data.pictures[0]!);
    expect(Object.keys(objects)).toEqual(['2018.mat:1', '2018.mat:2', '2018.mat:3']);
    expect(rows(objects['2018.mat:2']!.mask)).toEqual([
      '..........',
      '..#####...',
      '..#####...',
      '..#####...',
      '..........',
      '..........',
    ]);
    expect((await data.pictures[0]!.read()).width).toBe(10);
    expect(await codeOf(() => data.pictures[1]!.objects())).toBe('ERR_IMAGE');
  });
});

describe('what is no data set', () => {
  it('says what was looked for', async () => {
    const files = sample();
    expect(await codeOf(() => openDataSet(files.path('none')))).toBe('ERR_FILE');
    const { message } = await errorOf(() => openDataSet(files.folder));
    expect(message).toContain('cityscapes');
    for (const format of DATA_FORMATS)
      expect(await codeOf(() => openDataSet(files.folder, format))).toBe('ERR_FILE');
  });
});
