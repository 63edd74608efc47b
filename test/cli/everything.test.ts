import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { decodeImage } from '../../lib/image/decode.js';
import { decompressRle, rleArea, rleBox } from '../../lib/image/rle.js';
import { photograph, scratch } from '../support/files.js';
import { hrsam, hrsamJson } from './support.js';

const path = scratch('hrsam-cli-');
const QUICK = ['-d', 'cpu', '--size', '256', '--points', '4', '--min-score', '0.3', '--min-stability', '0.3'];

describe('everything', () => {
  test('writes masks, run lengths and a picture of them', async () => {
    const files = ['-o', path('masks'), '--rle', path('masks.json'), '--overlay', path('all.jpg')];
    const result = await hrsamJson(['everything', photograph, ...QUICK, ...files]);
    expect(result.size).toEqual({ height: 1024, width: 807 });
    expect(Object.keys(result.ms)).toEqual(['decode', 'load', 'encode', 'find', 'write']);
    expect(result.masks.length).toBeGreaterThan(0);
    for (const { score, stability, area, bbox, rle, point } of result.masks) {
      const plain = decompressRle(rle);
      expect([rleArea(plain), rleBox(plain)]).toEqual([area, bbox]);
      expect(Math.min(score, stability)).toBeGreaterThanOrEqual(0.3);
      expect(point[0]).toBeLessThan(807);
    }
    expect(JSON.parse(readFileSync(path('masks.json'), 'utf8'))).toEqual(result.masks);
    expect(readdirSync(path('masks')).sort()).toEqual(
      result.masks.map((_: unknown, i: number) => `${i}.png`).sort(),
    );
    for (const file of [path('masks/0.png'), path('all.jpg')])
      expect(await decodeImage(file)).toMatchObject({ width: 807, height: 1024 });
  });

  test('says what to do where nothing is found', async () => {
    const overlay = ['--overlay', path('none.png')];
    const { code, stdout } = await hrsam([
      'everything',
      photograph,
      ...QUICK,
      '--min-score',
      '1',
      ...overlay,
    ]);
    expect(code).toBe(0);
    expect(stdout).toMatch(/nothing found: lower --min-score or --min-stability/);
    expect(existsSync(path('none.png'))).toBe(true);
  });

  test('refuses to write a mask over the picture or the overlay', async () => {
    await sharp(photograph).resize(64).png().toFile(path('0.png'));
    const all = ['-d', 'cpu', '--size', '64', '--points', '2', '--min-score', '0', '--min-stability', '0'];
    const over = await hrsam(['everything', path('0.png'), ...all, '-o', path('.')]);
    expect([over.code, over.stderr]).toEqual([1, expect.stringContaining('would overwrite what is read')]);
    const overlay = ['-o', path('m'), '--overlay', path('m/0.png')];
    const twice = await hrsam(['everything', path('0.png'), ...all, ...overlay]);
    expect([twice.code, twice.stderr]).toEqual([1, expect.stringContaining('two outputs have one name')]);
    expect(existsSync(path('m'))).toBe(false);
    const missing = await hrsam(['everything', path('no.png'), ...all, '-o', path('m')]);
    expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('does not exist')]);
    expect(existsSync(path('m'))).toBe(false);
  });

  test.each([
    [['--min-score', '2'], 2, /from 0 to 1/],
    [['--points', '0'], 2, /whole number from 1/],
    [['--points', '300'], 2, /--points.*whole number from 1 to 256/],
    [['--overlay', 'all.gif'], 2, /not \.gif/],
    [['--rle', 'no/such/folder.json'], 1, /no such folder/],
    [['-o', join(photograph, 'masks')], 1, /image\.jpg\/masks: cannot be made \(ENOTDIR\)/],
    [['-o', photograph], 1, /image\.jpg: cannot be made: what has that name is no folder/],
    [['-o', path('one.png'), '--overlay', path('one.png')], 1, /one\.png: cannot be written: it is a folder/],
  ])('refuses %j', async (args, code, message) => {
    const result = await hrsam(['everything', photograph, ...QUICK, '--json', ...args]);
    expect(result).toMatchObject({ code, stdout: '' });
    expect(result.stderr).toMatch(message);
  });
});
