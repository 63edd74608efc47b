import { execFileSync, spawn } from 'node:child_process';
import { existsSync, lstatSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import sharp from 'sharp';
import { describe, expect, test } from 'vitest';
import { decodeImage } from '../../lib/image/decode.js';
import { decodeRle, decompressRle, rleArea, rleBox } from '../../lib/image/rle.js';
import { photograph, root, scratch } from '../support/files.js';
import { hrsam, hrsamJson, writeTiny } from './support.js';

const path = scratch('hrsam-cli-');
const MODEL = ['-w', 'random:hrsam-tiny', '-d', 'cpu'];
const segment = (picture: string, ...args: string[]) => hrsamJson(['segment', picture, ...MODEL, ...args]);

/** A picture that is stored lying down and shown upright: EXIF orientation 6, a quarter turn clockwise. */
const lying = async (): Promise<{ lying: string; upright: string }> => {
  const pixels = await sharp(photograph).resize(200).png().toBuffer();
  await sharp(pixels).png().toFile(path('upright.png'));
  const turned = await sharp(pixels).rotate(-90).png().toBuffer();
  await sharp(turned).withMetadata({ orientation: 6 }).png().toFile(path('lying.png'));
  return { lying: path('lying.png'), upright: path('upright.png') };
};

describe('segment', () => {
  test('writes a mask of the size of the picture and says the same in JSON', async () => {
    const result = await segment(photograph, '-p', '300,400', '-p', '10,10,0', '-o', path('mask.png'));
    expect(result.size).toEqual({ height: 1024, width: 807 });
    expect(result.input).toEqual({ height: 256, width: 256 });
    expect(result.model).toEqual({
      weights: 'random:hrsam-tiny',
      trained: false,
      family: 'hrsam',
      device: 'cpu',
      dtype: 'f32',
    });
    expect(Object.keys(result.ms)).toEqual(['decode', 'load', 'encode', 'segment', 'write']);
    expect(result.masks).toHaveLength(1);
    const [{ prompt, index, score, area, bbox, rle, file }] = result.masks;
    expect([prompt, index, file]).toEqual([0, 0, path('mask.png')]);
    expect(Number.isFinite(score)).toBe(true);
    const plain = decompressRle(rle);
    expect([rleArea(plain), rleBox(plain)]).toEqual([area, bbox]);
    expect(area).toBeGreaterThan(0);
    const { data, width, height, channels } = await decodeImage(file);
    expect([width, height]).toEqual([807, 1024]);
    const mask = decodeRle(plain);
    expect(mask.every((value, i) => data[i * channels] === 255 * value)).toBe(true);
  });

  test('takes the model included where no weights are named', async () => {
    const { model, input } = await hrsamJson([
      'segment',
      photograph,
      '-p',
      '300,400',
      '-d',
      'cpu',
      '--size',
      '256',
    ]);
    expect(model).toMatchObject({ weights: 'included', trained: true, family: 'hrsam' });
    expect(input).toEqual({ height: 256, width: 256 });
  });

  test('several boxes and --multimask: one file per mask, in order', async () => {
    const boxes = ['-b', '100,100,300,300', '-b', '400,500,700,900'];
    const result = await segment(photograph, ...boxes, '--multimask', '-o', path('many.png'));
    expect(
      result.masks.map(({ prompt, index }: { prompt: number; index: number }) => [prompt, index]),
    ).toEqual([0, 1].flatMap((prompt) => [1, 2, 3].map((index) => [prompt, index])));
    expect(result.masks.map(({ file }: { file: string }) => file)).toEqual(
      Array.from({ length: 6 }, (_, i) => path(`many-${i}.png`)),
    );
    for (const { file } of result.masks) expect(existsSync(file)).toBe(true);
    const [alone] = (await segment(photograph, '-b', '400,500,700,900')).masks;
    expect(alone.index).toBe(0);
  });

  test('--refine gives another answer than none, and two passes another than one', async () => {
    const scores = await Promise.all(
      ['0', '1', '2'].map(
        async (n) => (await segment(photograph, '-p', '300,400', '--refine', n)).masks[0].score,
      ),
    );
    const [plain] = (await segment(photograph, '-p', '300,400')).masks;
    expect(scores[0]).toBe(plain.score);
    expect(new Set(scores).size).toBe(3);
  });

  test('--zoom answers again on the part around a mask', async () => {
    // The flower alone, by the model included.
    const flower = ['segment', photograph, '-d', 'cpu', '--size', '512', '-p', '390,560'];
    const [plain, zoomed] = [await hrsamJson(flower), await hrsamJson([...flower, '--zoom'])];
    expect(zoomed.masks[0].score).not.toBe(plain.masks[0].score);
    const [a, b] = [plain, zoomed].map(({ masks }) => masks[0].bbox);
    // Of about the same thing.
    for (const i of [0, 1, 2, 3]) expect(Math.abs(a[i] - b[i])).toBeLessThan(80);
  });

  test('--min-region leaves less of a mask than 0 does', async () => {
    const areas = await Promise.all(
      ['0', '1'].map(
        async (share) => (await segment(photograph, '-p', '500,700', '--min-region', share)).masks[0].area,
      ),
    );
    const [plain] = (await segment(photograph, '-p', '500,700')).masks;
    expect(areas[0]).toBe(plain.area);
    expect(areas[1]).toBeLessThan(plain.area);
  });

  test('a box joins points in one prompt', async () => {
    const point = ['-p', '300,400'];
    const box = ['-b', '100,100,500,600'];
    const [both, points] = await Promise.all([
      segment(photograph, ...point, ...box),
      segment(photograph, ...point),
    ]);
    expect(both.masks).toHaveLength(1);
    expect(both.masks[0].score).not.toBe(points.masks[0].score);
  });

  test('coordinates and masks follow the EXIF orientation', async () => {
    const pictures = await lying();
    const [turned, plain] = await Promise.all([
      segment(pictures.lying, '-p', '40,220'),
      segment(pictures.upright, '-p', '40,220'),
    ]);
    expect(turned.size).toEqual({ height: 254, width: 200 });
    expect(turned.size).toEqual(plain.size);
    expect(turned.masks[0].rle).toEqual(plain.masks[0].rle);
  });

  test('a mask prompt: its place counts, and only white on black of the right size is one', async () => {
    const white = { create: { width: 300, height: 400, channels: 3, background: '#fff' } } as const;
    const black = { create: { width: 807, height: 1024, channels: 3, background: '#000' } } as const;
    const inside = await sharp(white).png().toBuffer();
    const at = async (left: number, top: number, file: string) => {
      await sharp(black)
        .composite([{ input: inside, left, top }])
        .png()
        .toFile(path(file));
      return segment(photograph, '--mask', path(file));
    };
    const [first, second] = [await at(0, 0, 'a.png'), await at(500, 600, 'b.png')];
    expect(first.masks[0].rle).not.toEqual(second.masks[0].rle);
    await sharp(path('a.png')).toColourspace('rgb16').png().toFile(path('a16.png'));
    const deep = await segment(photograph, '--mask', path('a16.png'));
    expect(deep.masks[0].rle).toEqual(first.masks[0].rle);

    await sharp(black).png().toFile(path('black.png'));
    const empty = await hrsam(['segment', photograph, ...MODEL, '--mask', path('black.png')]);
    expect([empty.code, empty.stderr]).toEqual([1, expect.stringContaining('the mask is empty')]);
    await sharp(inside).toFile(path('small.png'));
    const small = await hrsam(['segment', photograph, ...MODEL, '--mask', path('small.png')]);
    expect(small.code).toBe(1);
    expect(small.stderr).toContain('expected 807 x 1024; got 300 x 400');
  });

  test('--overlay and --rle write what they say; --size changes the input', async () => {
    const result = await segment(
      photograph,
      ...['-p', '300,400', '--size', '128', '--overlay', path('o.jpg'), '--rle', path('rle.json')],
    );
    expect(result.input).toEqual({ height: 128, width: 128 });
    const overlay = await sharp(path('o.jpg')).metadata();
    expect([overlay.format, overlay.width, overlay.height]).toEqual(['jpeg', 807, 1024]);
    const [kept] = JSON.parse(readFileSync(path('rle.json'), 'utf8'));
    expect(kept.rle).toEqual(result.masks[0].rle);
    expect(result.masks[0].file).toBeUndefined();
  });

  test('without -o the mask is mask.png in the current folder, said in a table', async () => {
    const cwd = dirname(path('x'));
    const { code, stdout, stderr } = await hrsam(['segment', photograph, ...MODEL, '-p', '300,400'], { cwd });
    expect(code).toBe(0);
    expect(stderr).toBe('hrsam: random:hrsam-tiny is untrained: its masks mean nothing\n');
    expect(stdout).toMatch(/^mask +score +pixels +box\nmask\.png +-?\d/);
    expect(existsSync(path('mask.png'))).toBe(true);
  });

  test('bf16 gives nearly the same score', async () => {
    const [exact, rough] = await Promise.all(
      ['f32', 'bf16'].map((dtype) => segment(photograph, '-p', '300,400', '--dtype', dtype)),
    );
    expect(rough.model.dtype).toBe('bf16');
    expect(rough.masks[0].score).not.toBe(exact.masks[0].score);
    expect(Math.abs(rough.masks[0].score - exact.masks[0].score)).toBeLessThan(0.05);
  });

  test('Ctrl-C ends it at once, cleanly', async () => {
    await hrsam(['--version']); // builds dist/ where that is due
    const args = ['segment', photograph, ...MODEL, '-p', '3,3', '--size', '4096', '-o', path('late.png')];
    const child = spawn(process.execPath, [join(root, 'dist/hrsam.cjs'), ...args]);
    let stderr = '';
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      // Said once the model is loaded: the encoder comes next.
      if (text.includes('untrained')) setTimeout(() => child.kill('SIGINT'), 100);
      stderr += text;
    });
    const code = await new Promise((resolve) => child.on('close', resolve));
    expect(code).toBe(130);
    expect(stderr).toMatch(/hrsam: interrupted\n$/);
    expect(readdirSync(dirname(path('x'))).filter((name) => /late|part$/.test(name))).toEqual([]);
  });
});

test('a mask goes where a link points, and the link stays', async () => {
  symlinkSync(path('target.png'), path('link.png'));
  await hrsam(['segment', photograph, ...MODEL, '-p', '100,100', '-o', path('link.png')]);
  expect(lstatSync(path('link.png')).isSymbolicLink()).toBe(true);
  expect(readFileSync(path('target.png')).subarray(1, 4).toString()).toBe('PNG');
});

test('weights that are not finite, or give what is not', async () => {
  const run = async (values: (official: string, data: Float32Array) => void) => {
    await writeTiny(path('bad.safetensors'), { values });
    const weights = ['-w', path('bad.safetensors'), '-d', 'cpu', '--size', '128'];
    const { code, stderr } = await hrsam(['segment', photograph, ...weights, '-p', '100,100', '--json']);
    expect(code).toBe(1);
    return stderr;
  };
  const none = await run((official, data) => {
    if (official.endsWith('patch_embed.proj.bias')) data[0] = Number.NaN;
  });
  expect(none).toMatch(/bad\.safetensors: tensor .*patch_embed\.proj\.bias: .* got NaN at 0\n$/);
  const large = await run((official, data) => {
    if (official.endsWith('patch_embed.proj.weight')) data.fill(3e38);
  });
  expect(large).toContain('the model gives values that are not finite');
});

describe('segment refuses', () => {
  const usage: [string, string[], string][] = [
    ['no prompt', [], 'nothing to segment: give a point (-p x,y), a box (-b x0,y0,x1,y1) or a mask'],
    [
      'boxes with points',
      ['-p', '1,1', '-b', '1,1,2,2', '-b', '3,3,4,4'],
      'several boxes are prompts of their own',
    ],
    ['half a point', ['-p', '3'], "argument '3' is invalid. Expected x,y or x,y,label, in pixels."],
    ['a point of words', ['-p', 'a,b'], 'Expected x,y or x,y,label'],
    ['a label of 2', ['-p', '3,3,2'], 'The label is 1 (object) or 0 (background).'],
    ['a box of three', ['-b', '1,2,3'], 'Expected x0,y0,x1,y1'],
    ['another dtype', ['-p', '1,1', '--dtype', 'f64'], 'Allowed choices are f32, bf16, fp8.'],
    ['no threads', ['-p', '1,1', '--threads', '0'], 'Expected a whole number from 1.'],
    ['a mask that is no PNG', ['-p', '1,1', '-o', 'm.jpg'], 'masks are PNG files, not .jpg'],
    ['an overlay of no known kind', ['-p', '1,1', '--overlay', 'o.tiff'], 'expected .png, .jpg or .webp'],
    ['standard output by a dash', ['-p', '1,1', '-o', '-'], '- is neither stdin nor stdout'],
    ['standard input by a dash', ['--mask', '-'], './- for one of that name'],
    ['alternatives zoomed in', ['-p', '1,1', '--multimask', '--zoom'], 'not together with --multimask'],
    ['alternatives refined', ['-p', '1,1', '--multimask', '--refine', '1'], 'not together with --multimask'],
    [
      'regions of alternatives',
      ['-p', '1,1', '--multimask', '--min-region', '1'],
      'not together with --multimask',
    ],
    ['too many refinements', ['-p', '1,1', '--refine', '9'], 'a whole number from 0 to 8'],
    ['a region above all', ['-p', '1,1', '--min-region', '1.5'], 'a number from 0 to 1'],
    ['an unknown option', ['-p', '1,1', '--frobnicate'], "unknown option '--frobnicate'"],
  ];
  test.each(usage)('%s, with exit code 2', async (_, args, message) => {
    const { code, stdout, stderr } = await hrsam(['segment', photograph, ...MODEL, ...args]);
    expect(stderr).toContain(message);
    expect(stderr).toMatch(/^hrsam: [^\n]+\n$/);
    expect([code, stdout]).toEqual([2, '']);
  });

  test.each([
    ['the picture', 'x-1.png', [], 'x-1.png: would overwrite what is read'],
    ['an overlay', 'y.png', ['--overlay', path('x-0.png')], 'x-0.png: two outputs have one name'],
  ])('numbered masks over %s', async (_, name, args, message) => {
    const picture = path(name);
    const bytes = await sharp(photograph).resize(64).png().toBuffer();
    writeFileSync(picture, bytes);
    const boxes = ['-b', '1,1,40,40', '-b', '1,1,30,30', '-o', path('x.png'), ...args];
    const { code, stderr } = await hrsam(['segment', picture, ...MODEL, '--size', '64', ...boxes]);
    expect(stderr).toContain(message);
    expect(code).toBe(1);
    expect(readFileSync(picture)).toEqual(bytes);
    expect(existsSync(path('x-0.png'))).toBe(false);
  });

  test('what is wrong with files, prompts and devices, with exit code 1', async () => {
    writeFileSync(path('not.png'), 'not a picture');
    const [config, pipe] = [path('config.json'), path('pipe')];
    writeFileSync(config, '{}');
    execFileSync('mkfifo', [pipe]);
    symlinkSync('not.png', path('to-not.png'));
    const cases: [string[], string][] = [
      [[path('none.png'), '-p', '1,1'], 'none.png: does not exist'],
      [[path('not.png'), '-p', '1,1'], 'not a readable picture'],
      [[photograph, '-p', '900,1'], 'hrsam: points[0]: not a place in the picture; expected 0 ≤ x ≤ 807'],
      [[photograph, '-b', '9,9,1,1'], 'hrsam: box: its corners are swapped'],
      [[photograph, '-p', '1,1', '--size', '100'], 'a multiple of 16'],
      [[photograph, '-p', '1,1', '-d', 'tpu'], 'unknown device; expected cpu, cuda, cuda:N or auto; got tpu'],
      [[photograph, '-p', '1,1', '-w', 'random:none'], 'there is no preset none'],
      [[photograph, '-p', '1,1', '-w', path('none.pth')], 'none.pth: does not exist'],
      [[photograph, '-p', '1,1', '-o', path('no/such/mask.png')], 'there is no such folder'],
      [[photograph, '-p', '1,1', '-o', path('x'.repeat(256))], 'cannot be written (ENAMETOOLONG)'],
      [
        [photograph, '-p', '1,1', '-o', path('a.png'), '--overlay', path('a.png')],
        'two outputs have one name',
      ],
      [[path('not.png'), '-p', '1,1', '--overlay', path('not.png')], 'would overwrite what is read'],
      [[path('not.png'), '-p', '1,1', '-o', path('to-not.png')], 'to-not.png: would overwrite what is read'],
      [[photograph, '--mask', path('not.png'), '-o', path('not.png')], 'would overwrite what is read'],
      [
        [photograph, '-p', '1,1', '-w', 'random:hrsam-tiny', '--config', config],
        'a preset has its own settings',
      ],
      [[pipe, '-p', '1,1'], 'not a regular file'],
      [[photograph, '-p', '1,1', '--config', pipe], 'pipe: is not a regular file'],
    ];
    for (const [args, message] of cases) {
      const { code, stdout, stderr } = await hrsam(['segment', ...MODEL, ...args]);
      expect(stderr.split('\n').at(-2)).toMatch(/^hrsam: /);
      expect(stderr).toContain(message);
      expect([code, stdout]).toEqual([1, '']);
    }
  });

  test('with --debug, where it happened', async () => {
    const { stderr } = await hrsam(['segment', path('none.png'), ...MODEL, '-p', '1,1', '--debug']);
    expect(stderr).toMatch(/^hrsam: .*\nHrsamError: .*\n {4}at /);
  });
});
