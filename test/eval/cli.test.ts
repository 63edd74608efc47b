import { existsSync, readFileSync, symlinkSync } from 'node:fs';
import sharp from 'sharp';
import { beforeAll, describe, expect, it } from 'vitest';
import { progressText } from '../../lib/cli/eval_run.js';
import { decompressRle, rleArea } from '../../lib/image/rle.js';
import { hrsam, hrsamJson } from '../cli/support.js';
import { type Sample, sample } from './support.js';

const inside = (x: number, y: number) => x >= 10 && x < 30 && y >= 8 && y < 24;

describe('hrsam eval', () => {
  let files: Sample;
  const done = sample();
  const commandLine = (text: string) => [...text.split(' '), '--data', files.folder];
  beforeAll(async () => {
    files = sample();
    for (const name of ['a', 'b'])
      await files.picture(`images/${name}.jpg`, 64, 40, (x, y) =>
        inside(x, y) ? [200, 30, 40] : [40, 160, 60],
      );
    await files.picture('masks/a.png', 64, 40, (x, y) => [inside(x, y) ? 255 : 0]);
    await files.picture('masks/b__0.png', 64, 40, (x, y) => [inside(x, y) ? 255 : 0]);
    await files.picture('masks/b__1.png', 64, 40, (x) => [x > 50 ? 255 : 0]);
    files.write('masks/b__2.png', 'no picture');
  });

  it('prints what is asked of a baseline, and writes files', async () => {
    const [sheet, predictions, output, curves] = [
      'sheet.png',
      'predictions.json',
      'all.json',
      'curves.png',
    ].map(done.path);
    const figures = await hrsamJson(
      ['eval', '--baseline', 'box', '--data', files.folder, '--clicks', '3'].concat([
        '--sheet',
        sheet!,
        '--predictions',
        predictions!,
        '-o',
        output!,
        '--curves',
        curves!,
      ]),
    );
    expect(figures).toMatchObject({ masks: 3, pictures: 2, method: 'box', format: 'folder', judgedAfter: 3 });
    expect(Object.keys(figures.iouAtClicks)).toEqual(['1', '2', '3']);
    expect(Object.keys(figures.noc)).toEqual(['80', '85', '90', '95']);
    expect(Object.keys(figures.failures)).toEqual(['80', '85', '90', '95']);
    expect(figures.iouAtClicks['1']).toBeGreaterThan(0.5);
    for (const key of ['miou', 'boundaryIou', 'msPerClick', 'msPerImage'])
      expect(figures[key]).toBeTypeOf('number');
    expect(figures.failed).toHaveLength(1);
    expect(figures.failed[0].entry).toBe('b.jpg: b__2.png');
    expect(figures.iouByClick).toHaveLength(3);
    for (const count of [1, 2, 3]) expect(figures.iouByClick[count - 1]).toBe(figures.iouAtClicks[count]);
    expect((await sharp(sheet).metadata()).width).toBe(2 * 390 + 10);
    expect(await sharp(curves).metadata()).toMatchObject({ format: 'png', height: 3 * 260 });
    const written = JSON.parse(readFileSync(predictions!, 'utf8'));
    expect(written).toHaveLength(3);
    expect(rleArea(decompressRle(written[0].segmentation))).toBeGreaterThan(0);
    const all = JSON.parse(readFileSync(output!, 'utf8'));
    expect(all.objects.map(({ ious }: { ious: number[] }) => ious.length)).toEqual([3, 3, 3]);
    expect(all.iouAtClicks).toEqual(figures.iouAtClicks);
  });

  it('shows how far it is in what is judged, which --limit makes less than the set', () => {
    const done = { masks: 3, failed: 1, pictures: 2, of: 150 };
    expect(progressText(done)).toBe('3 masks, picture 2 of 150, 1 failed');
    expect(progressText({ ...done, failed: 0 }, 4)).toBe('3 masks of at most 4, picture 2');
  });

  it('names the data sets where the folder around them is given', async () => {
    const around = sample();
    around.write('one/index.json', '[]');
    around.write('two/index.json', '[]');
    around.write('notes/none.txt', '');
    const { code, stderr } = await hrsam(['eval', '--baseline', 'box', '--data', around.folder]);
    expect(code).not.toBe(0);
    expect(stderr).toContain('a folder of data sets; expected one of them: one, two\n');
  });

  it('tells pictures of one name in several folders apart', async () => {
    const set = sample();
    for (const [name, width, height] of [
      ['a/1', 64, 48],
      ['b/1', 400, 300],
    ] as const) {
      await set.picture(`${name}.jpg`, width, height);
      await set.picture(`${name}.png`, width, height, (x) => [x > width - 12 ? 255 : 0]);
    }
    set.json(
      'index.json',
      ['a', 'b'].map((name) => ({ image: `${name}/1.jpg`, mask: `${name}/1.png` })),
    );
    const [sheet, predictions] = ['both.webp', 'both.json'].map(done.path) as [string, string];
    const asked = ['eval', '--baseline', 'box', '--data', set.folder, '--clicks', '1'];
    const figures = await hrsamJson([...asked, '--sheet', sheet, '--predictions', predictions]);
    expect(figures.pictures).toBe(2);
    expect((await sharp(sheet).metadata()).format).toBe('webp');
    const written: { image_id: number; file_name: string }[] = JSON.parse(readFileSync(predictions, 'utf8'));
    expect(written.map(({ image_id, file_name }) => [image_id, file_name])).toEqual([
      [0, 'a/1.jpg'],
      [1, 'b/1.jpg'],
    ]);
  });

  it.skipIf(!existsSync('/dev/full'))('a sheet that fails costs nothing else', async () => {
    const [output, sheet] = [done.path('kept.json'), done.path('full.png')];
    symlinkSync('/dev/full', sheet);
    const asked = commandLine('eval --baseline box --clicks 1 --json');
    const { code, stdout, stderr } = await hrsam([...asked, '-o', output, '--sheet', sheet]);
    expect([code, stderr]).toEqual([1, expect.stringContaining('ENOSPC')]);
    expect(JSON.parse(stdout).masks).toBe(3);
    expect(JSON.parse(readFileSync(output, 'utf8')).objects).toHaveLength(3);
  });

  it('overwrites nothing among the data', async () => {
    const before = readFileSync(files.path('masks/a.png'));
    const asked = ['eval', '--baseline', 'box', '--clicks', '1'];
    symlinkSync(files.path('masks'), done.path('link'));
    files.json('annotations/list.json', { images: [], annotations: [] });
    const list = files.path('annotations/list.json');
    for (const [data, ...outputs] of [
      [files.folder, '--sheet', files.path('masks/a.png')],
      [files.folder, '--sheet', done.path('link/a.png')],
      [files.folder, '-o', list],
      [list, '-o', list, '--format', 'coco'],
      [list, '--predictions', files.path('images/a.jpg'), '--format', 'coco'],
    ] as const) {
      const { code, stderr } = await hrsam([...asked, '--data', data, ...outputs]);
      expect([code, stderr]).toEqual([1, expect.stringContaining('would overwrite')]);
    }
    expect(readFileSync(files.path('masks/a.png'))).toEqual(before);
  });

  it('judges a model at several sizes, with what it costs', async () => {
    const figures = await hrsamJson(
      ['eval', '-w', 'random:hrsam-tiny', '--data', files.folder].concat([
        '--clicks',
        '2',
        '--size',
        '64,128',
        '-d',
        'cpu',
        '--predictions',
        done.path('sizes.json'),
      ]),
    );
    expect(['sizes-0.json', 'sizes-1.json', 'sizes.json'].map((name) => existsSync(done.path(name)))).toEqual(
      [true, true, false],
    );
    expect(figures.runs.map(({ model }: { model: { size: number } }) => model.size)).toEqual([64, 128]);
    const [small, large] = figures.runs;
    expect(figures.iouAtClicks).toEqual(small.iouAtClicks);
    expect(large.flopsPerImage / small.flopsPerImage).toBeGreaterThan(3);
    expect(large.flopsPerClick).toBeGreaterThan(small.flopsPerClick);
    expect(figures.model.trained).toBe(false);
  });

  it('refines answers where it is asked to, and says so', async () => {
    const asked = commandLine('eval random:hrsam-tiny --clicks 1 --size 64 -d cpu');
    const plain = await hrsamJson(asked);
    const refined = await hrsamJson([...asked, '--refine', '2']);
    expect([plain.model.refinements, refined.model.refinements]).toEqual([0, 2]);
    // A click that has a mask before it costs the same.
    expect(refined.flopsPerClick).toBe(plain.flopsPerClick);
    expect(refined.iouAtClicks).not.toEqual(plain.iouAtClicks);
    const { stdout } = await hrsam([...asked, '--refine', '1']);
    expect(stdout).toMatch(/per click, first answers refined 1 ×\n/);
  });

  it('leaves out what is apart from the clicks as the weights say, or as asked, and says so', async () => {
    const asked = commandLine('eval --clicks 1 --size 256 -d cpu');
    const plain = await hrsamJson([...asked, '--min-region', '0']);
    const own = await hrsamJson(asked);
    expect([plain.model.minRegion, own.model.minRegion]).toEqual([0, 0.1]);
    const { stdout } = await hrsam([...asked, '--min-region', '1']);
    expect(stdout).toMatch(/, regions apart from 1 of the clicked one on\n/);
    const { stdout: all } = await hrsam([...asked, '--min-region', '0']);
    expect(all).not.toMatch(/regions/);
  });

  it('makes answers again on the part of the picture around them on request', async () => {
    const asked = commandLine('eval --clicks 2 --limit 2 --size 256 -d cpu');
    const plain = await hrsamJson(asked);
    const zoomed = await hrsamJson([...asked, '--zoom']);
    expect([plain.model.zoom, zoomed.model.zoom]).toEqual([false, true]);
    expect(zoomed.iouByClick).not.toEqual(plain.iouByClick);
    expect(zoomed.flopsPerImage).toBe(plain.flopsPerImage);
    expect(zoomed).not.toHaveProperty('flopsPerClick');
    const { stdout } = await hrsam([...asked, '--zoom']);
    expect(stdout).toMatch(/ms per click, first answers refined 1 ×, zoomed in, regions apart/);
  });

  it('answers from coarse to fine where the weights say so', async () => {
    const asked = commandLine('eval --clicks 1 --limit 1 --size 1040 -d cpu');
    const coarse = await hrsamJson(asked);
    const alone = await hrsamJson([...asked, '--no-coarse']);
    expect([coarse.model.coarse, alone.model.coarse]).toEqual([1024, undefined]);
    expect(coarse.flopsPerImage).toBeGreaterThan(1.9 * alone.flopsPerImage);
    expect(coarse.flopsPerClick).toBeGreaterThan(1.9 * alone.flopsPerClick);
    const { stdout } = await hrsam(asked);
    expect(stdout).toMatch(/answers made at 1024 first, regions apart from 0.1 of the clicked one on\n/);
  });

  it('prints a table for people', async () => {
    const { code, stdout, stderr } = await hrsam(
      ['eval', '--baseline', 'grabcut', '--data', files.folder].concat(
        ['--clicks', '2', '--limit', '2'],
        ['--jobs', '2'],
      ),
    );
    expect([code, stderr]).toEqual([0, '']);
    expect(stdout).toMatch(/^method +masks +IoU@1 +IoU@2/);
    expect(stdout).toContain('folder, 2 pictures');
    expect(stdout).toMatch(/per click, 2 pictures at a time\n/);
  });

  it.each([
    ['weights and a baseline', ['x.safetensors', '--baseline', 'box'], 2, 'takes no'],
    ['weights and weights', ['w', '-w', 'w'], 2, 'give the weights once'],
    ['a size with a baseline', ['--baseline', 'box', '--size', '64'], 2, 'takes no'],
    ['--no-coarse with a baseline', ['--baseline', 'box', '--no-coarse'], 2, 'takes no'],
    ['refinements of a baseline', ['--baseline', 'box', '--refine', '1'], 2, 'takes no'],
    ['regions of a baseline', ['--baseline', 'box', '--min-region', '1'], 2, 'takes no'],
    ['figures in place of the weights', ['w.safetensors', '-o', 'w.safetensors'], 1, 'would overwrite'],
    ['an unknown layout', ['--baseline', 'box', '--format', 'nope'], 2, 'nope'],
    ['sizes that are none', ['w', '--size', '64,x'], 2, '1024,2048'],
    ['an inner k below 1', ['--baseline', 'box', '--inner-k', '0.5'], 2, 'from 1'],
    ['a sheet of no known kind', ['--baseline', 'box', '--sheet', 's.gif'], 2, '.png, .jpg or .webp'],
    [
      'a folder that is not there',
      ['--baseline', 'box', '--sheet', '/nowhere/at/all/x.png'],
      1,
      'no such folder',
    ],
  ])('%s: exit code and one line', async (_, args, code, text) => {
    const result = await hrsam(['eval', '--data', files.folder, ...(args as string[])]);
    expect(result.code).toBe(code);
    expect(result.stderr).toContain(text);
    expect(result.stderr.trim().split('\n')).toHaveLength(1);
    expect(result.stdout).toBe('');
  });

  it('what could not be judged at all ends with code 1, and a size that is none before the work', async () => {
    const empty = sample();
    empty.json('index.json', [{ image: 'none.jpg', mask: 'none.png' }]);
    const model = ['eval', 'random:hrsam-tiny', '-d', 'cpu'];
    const none = await hrsam([...model, '--data', empty.folder, '--size', '128']);
    expect(none.code).toBe(1);
    expect(none.stderr).toContain('no object could be judged');
    const odd = await hrsam([...model, '--data', files.folder, '--size', '128,130']);
    expect([odd.code, odd.stdout]).toEqual([1, '']);
    expect(odd.stderr).toContain('a multiple of 16');
  });

  it('data that are no data set end with code 1', async () => {
    const result = await hrsam(['eval', '--baseline', 'box', '--data', done.folder, '--format', 'coco']);
    expect([result.code, result.stdout]).toEqual([1, '']);
    expect(result.stderr).toContain('annotations');
    expect(existsSync(done.path('annotations'))).toBe(false);
  });
});
