// COCO and what is annotated on its pictures, as published, a few pixels small.
import { mkdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { openDataSet } from '../../lib/eval/data/open.js';
import { compressRle, encodeRle } from '../../lib/image/rle.js';
import { codeOf, errorOf } from '../support/errors.js';
import { area, H, left, names, only, right, sample, W } from './support.js';

describe('COCO', () => {
  const mask = encodeRle(
    Uint8Array.from({ length: W * H }, (_, i) => Number(right(i % W, Math.floor(i / W)))),
    H,
    W,
  );
  const images = [
    { id: 9, file_name: '000000000009.jpg', height: H, width: W },
    { id: 25, file_name: '000000000025.jpg', height: H, width: W },
  ];

  it('instances: polygons, run lengths, crowds', async () => {
    const files = sample();
    await files.picture('val2017/000000000009.jpg', W, H);
    const of = (id: number, segmentation: unknown, more = {}) => ({
      id,
      image_id: 9,
      category_id: 18,
      iscrowd: 0,
      segmentation,
      ...more,
    });
    files.json('annotations/instances_val2017.json', {
      images,
      annotations: [
        of(1, [[1, 1, 5, 1, 5, 4, 1, 4]]),
        of(2, compressRle(mask)),
        of(3, mask, { iscrowd: 1 }),
        of(4, [[1, 2]]),
        of(5, mask, { category_id: 3 }),
        of(6, [[0, 0, 1e12, 0, 0, 4]]),
        of(7, [
          [3, 3, 9, 9],
          [1, 1, 5, 1, 5, 4, 1, 4],
        ]),
        of(8, { size: [H, W], counts: [W * H - 1] }),
        of(9, [[null, null, 5, 0, 5, 5]]),
        of(10, [['1', '1', '5', '1', '5', '4']]),
        null,
      ],
      categories: [{ id: 18, name: 'dog' }],
    });
    files.json('annotations/instances_train2017.json', { images: [], annotations: [] });
    const data = await openDataSet(files.folder);
    expect([data.format, ...names(data)]).toEqual(['coco', '000000000009.jpg']);
    const [picture] = data.pictures;
    expect(picture!.id).toBe(9);
    expect((await picture!.read()).width).toBe(W);
    const list = await picture!.objects();
    expect(list.map(({ name, category }) => [name, category])).toEqual([
      ['1', 18],
      ['2', 18],
      ['4', 18],
      ['5', 3],
      ['6', 18],
      ['7', 18],
      ['8', 18],
      ['9', 18],
      ['10', 18],
    ]);
    expect(area((await list[0]!.read()).mask)).toBe(12);
    expect((await list[1]!.read()).mask).toEqual(mask);
    expect(await codeOf(() => list[2]!.read())).toBe('ERR_IMAGE');
    expect((await list[3]!.read()).mask).toEqual(mask);
    expect(await codeOf(() => list[4]!.read())).toBe('ERR_IMAGE');
    // A line beside a polygon covers nothing.
    expect(area((await list[5]!.read()).mask)).toBe(12);
    expect((await errorOf(() => list[6]!.read())).message).toContain('annotation 8: ');
    // Neither nothing nor text is a coordinate.
    for (const { read } of list.slice(7)) expect((await errorOf(read)).message).toContain('not polygons');
    expect((await openDataSet(files.folder, 'auto', { split: 'train' })).pictures).toEqual([]);
    expect(names(await openDataSet(files.path('annotations/instances_val2017.json')))).toHaveLength(1);
    const { message } = await errorOf(() => openDataSet(files.folder, 'coco', { split: 'test' }));
    expect(message).toContain("annotations/instances_<split>.json with 'test' in its name");
  });

  it('annotations of any name, if they are named; pictures of old splits; pictures without EXIF data', async () => {
    const files = sample();
    const raw = { raw: { width: H, height: W, channels: 3 as const } };
    const turned = await sharp(new Uint8Array(W * H * 3), raw)
      .withMetadata({ orientation: 6 })
      .jpeg()
      .toBuffer();
    const annotations = [{ id: 1, image_id: 9, segmentation: mask }];
    files.json('result.json', { images, annotations });
    expect(await codeOf(() => openDataSet(files.path('result.json')))).toBe('ERR_FILE');
    files.write('000000000009.jpg', turned);
    // As it is seen it has the size that the annotations say.
    await only(files.path('result.json'), 'coco');
    const stored = { id: 9, file_name: 'a.jpg', height: W, width: H };
    files.write('val2014/a.jpg', turned);
    files.json('annotations/instances_minival2014.json', { images: [stored], annotations });
    const [picture] = (await openDataSet(files.folder)).pictures;
    expect(await picture!.read()).toMatchObject({ width: H, height: W });
  });

  it('annotations of no image are told, each number once', async () => {
    const files = sample();
    await files.picture('val2017/a.jpg', W, H);
    const ids = [7, '7', '7', 99, null, undefined, 7];
    files.json('annotations/instances_val2017.json', {
      images: [{ id: 7, file_name: 'a.jpg', height: H, width: W }],
      annotations: [
        ...ids.map((image_id, id) => ({ id, image_id, segmentation: mask })),
        { id: 9, image_id: 100, segmentation: mask, iscrowd: 1 },
      ],
    });
    const [known, ...lost] = (await openDataSet(files.folder)).pictures;
    expect((await known!.objects()).map(({ name }) => name)).toEqual(['0', '6']);
    const where = (id: string) => `${files.path('annotations/instances_val2017.json')}, image_id ${id}`;
    expect(lost.map(({ name }) => name)).toEqual(['"7"', '99', 'null', 'undefined'].map(where));
    for (const [i, count] of ['2 annotations', '1 annotation', '1 annotation', '1 annotation'].entries())
      expect((await errorOf(() => lost[i]!.read())).message).toBe(`${lost[i]!.name}: ${count} of no image`);
  });

  it('a missing picture or a hostile name is an error of that picture', async () => {
    const files = sample();
    const annotations = [1, 2, 3].map((id) => ({ id, image_id: id, segmentation: mask }));
    files.json('annotations/instances_val2017.json', {
      images: [
        { id: 1, file_name: 'gone.jpg', height: H, width: W },
        { id: 2, file_name: '../../../etc/passwd', height: H, width: W },
        { id: 3, height: H, width: W },
      ],
      annotations,
    });
    for (const picture of (await openDataSet(files.folder)).pictures)
      expect(await codeOf(() => picture.read())).toBe('ERR_IMAGE');
    files.json('annotations/instances_val2017.json', { images: [] });
    expect(await codeOf(() => openDataSet(files.folder))).toBe('ERR_FILE');
  });

  it('panoptic: segments by colour, crowds left out', async () => {
    const files = sample();
    await files.picture('val2017/000000000009.jpg', W, H);
    const [a, b, crowd] = [3 + 256 * 2, 70_000, 5];
    const colour = (id: number) => [id & 255, (id >> 8) & 255, id >> 16];
    await files.picture('annotations/panoptic_val2017/000000000009.png', W, H, (x, y) =>
      colour(left(x, y) ? a : right(x, y) ? b : y === 7 ? crowd : 0),
    );
    files.json('annotations/panoptic_val2017.json', {
      images,
      annotations: [
        {
          image_id: 9,
          file_name: '000000000009.png',
          segments_info: [
            { id: a, category_id: 1, iscrowd: 0 },
            { id: b, category_id: 200, iscrowd: 0 },
            { id: crowd, category_id: 1, iscrowd: 1 },
            { id: 77, category_id: 1, iscrowd: 0 },
          ],
        },
        { image_id: 25, file_name: '000000000025.png', segments_info: [] },
        { image_id: 12345, file_name: 'x.png', segments_info: [] },
      ],
    });
    const data = await openDataSet(files.folder);
    expect(data.format).toBe('coco-panoptic');
    const list = await data.pictures[0]!.objects();
    expect(list.map(({ category }) => category)).toEqual([1, 200, 1]);
    expect(area((await list[0]!.read()).mask)).toBe(12);
    expect((await list[1]!.read()).mask).toEqual(mask);
    expect(await codeOf(() => list[2]!.read())).toBe('ERR_IMAGE');
    expect(await codeOf(() => data.pictures[1]!.objects())).toBe('ERR_FILE');
    expect(await codeOf(() => data.pictures[2]!.objects())).toBe('ERR_IMAGE');
    renameSync(files.path('annotations/panoptic_val2017'), files.path('panoptic_val2017'));
    expect(await (await openDataSet(files.folder)).pictures[0]!.objects()).toHaveLength(3);
    rmSync(files.path('panoptic_val2017'), { recursive: true });
    expect((await errorOf(() => openDataSet(files.folder))).message).toContain('panoptic_val2017/');
  });

  it('annotations of a split, not of one whose name holds its name', async () => {
    const files = sample();
    const lists = [
      'coco/instances_minival2014',
      'coco/instances_val2014',
      'lvis/lvis_v1_minival',
      'lvis/lvis_v1_val',
    ];
    for (const [id, list] of lists.entries())
      files.json(`${list}.json`, {
        images: [{ id, file_name: 'a.jpg', height: H, width: W }],
        annotations: [{ id: 1, image_id: id, segmentation: mask }],
      });
    const opened = async (folder: string, split?: string) => {
      const { pictures } = await openDataSet(files.path(folder), 'auto', { split });
      return lists[pictures[0]!.id!];
    };
    expect(await opened('coco')).toBe('coco/instances_val2014');
    expect(await opened('lvis')).toBe('lvis/lvis_v1_val');
    for (const split of ['minival', 'val', 'minival2014', 'val2014'])
      expect(await opened('coco', split)).toBe(`coco/instances_${split.replace('2014', '')}2014`);
    for (const split of ['minival', 'val']) expect(await opened('lvis', split)).toBe(`lvis/lvis_v1_${split}`);
  });

  it('LVIS: pictures named by their address', async () => {
    const files = sample();
    await files.picture('val2017/000000000009.jpg', W, H);
    files.json('lvis_v1_val.json', {
      images: [
        { id: 9, coco_url: 'http://images.cocodataset.org/val2017/000000000009.jpg', height: H, width: W },
      ],
      annotations: [{ id: 1, image_id: 9, category_id: 1001, segmentation: [[1, 1, 5, 1, 5, 4, 1, 4]] }],
    });
    const { data, objects } = await only(files.folder);
    expect(data.format).toBe('lvis');
    expect(area(objects['1']!.mask)).toBe(12);
    // Beside COCO, whose pictures they are.
    mkdirSync(files.path('lvis'));
    mkdirSync(files.path('coco'));
    renameSync(files.path('lvis_v1_val.json'), files.path('lvis/lvis_v1_val.json'));
    renameSync(files.path('val2017'), files.path('coco/val2017'));
    await only(files.path('lvis'));
    // All in one folder, whatever their splits.
    renameSync(files.path('coco/val2017'), files.path('lvis/images'));
    await only(files.path('lvis'));
    rmSync(files.path('lvis/images'), { recursive: true });
    const [gone] = (await openDataSet(files.path('lvis'))).pictures;
    expect((await errorOf(() => gone!.read())).message).toContain(
      join('lvis', 'val2017', '000000000009.jpg'),
    );
  });
});
