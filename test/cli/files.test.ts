import { spawnSync } from 'node:child_process';
import {
  closeSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { SafetensorsFile } from '../../lib/weights/safetensors.js';
import { writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { photograph, root, scratch } from '../support/files.js';
import { hrsam, hrsamJson, writeTiny } from './support.js';

const path = scratch('hrsam-cli-');
const TINY = ['-w', 'random:hrsam-tiny', '-d', 'cpu'];

beforeAll(async () => {
  const extra = { name: 'optimizer.step', dtype: 'F32', shape: [1], data: new Float32Array(1) } as const;
  await writeTiny(
    path('tiny.safetensors'),
    { name: (official) => `module.${official}` },
    { tensors: [extra], metadata: [['origin', 'a test']] },
  );
});

describe('embed', () => {
  test('a picture: the embedding, and its sizes for later', async () => {
    const result = await hrsamJson([
      'embed',
      photograph,
      ...TINY,
      '--size',
      '128',
      '-o',
      path('e.safetensors'),
    ]);
    expect(result.embedding).toEqual([1, 64, 8, 8]);
    await using file = await SafetensorsFile.open(path('e.safetensors'));
    expect(file.tensors.get('embedding')).toMatchObject({ dtype: 'F32', shape: [1, 64, 8, 8] });
    expect(JSON.parse(file.metadata.get('hrsam.picture')!)).toEqual({
      original: { height: 1024, width: 807 },
      resized: { height: 128, width: 101 },
      input: { height: 128, width: 128 },
    });
    const values = (await file.read('embedding')) as Float32Array;
    expect(values.every(Number.isFinite)).toBe(true);
  });

  test.each([
    ['no image', 'pixels', [1, 3, 32, 32], 'no images'],
    ['other sides', 'image', [1, 3, 32, 40], 'H and W multiples of 16; got F32 [1,3,32,40]'],
    ['other channels', 'image', [1, 4, 32, 32], 'F32 (b, 3, H, W)'],
    ['no batch', 'image', [3, 32, 32], 'F32 (b, 3, H, W)'],
  ])('refuses a file with %s', async (_, name, shape, message) => {
    const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
    await writeSafetensors(path('bad.safetensors'), [{ name, dtype: 'F32', shape, data }]);
    const { code, stderr } = await hrsam([
      'embed',
      path('bad.safetensors'),
      ...TINY,
      '-o',
      path('x.safetensors'),
    ]);
    expect(stderr).toContain(message);
    expect(code).toBe(1);
  });
});

test('embed of a folder: long names, and one too long for its embedding, which is left out', async () => {
  mkdirSync(path('long'));
  const [long, tooLong] = [`${'l'.repeat(239)}.jpg`, `${'t'.repeat(251)}.jpg`];
  for (const name of [tooLong, long]) copyFileSync(photograph, path(`long/${name}`));
  const args = ['embed', path('long'), ...TINY, '--size', '64', '-o', path('long_embedded'), '--json'];
  const { code, stdout } = await hrsam(args);
  const { embedded, leftOut } = JSON.parse(stdout);
  expect([code, embedded, leftOut]).toEqual([
    0,
    1,
    [expect.stringContaining(`${tooLong}.safetensors: cannot be written (ENAMETOOLONG)`)],
  ]);
  expect(readdirSync(path('long_embedded')).sort()).toEqual(['decoder.safetensors', `${long}.safetensors`]);
});

test('decode answers a prompt with nothing in it, as SAM does', async () => {
  await hrsam(['embed', photograph, ...TINY, '--size', '128', '-o', path('e.safetensors')]);
  writeFileSync(path('nothing.json'), JSON.stringify([{ name: 'p' }]));
  const prompts = ['--prompts', path('nothing.json')];
  const result = await hrsam([
    'decode',
    path('e.safetensors'),
    ...TINY,
    ...prompts,
    '-o',
    path('m.safetensors'),
  ]);
  expect([result.stderr, result.code]).toEqual([expect.stringMatching(/^hrsam: .* mean nothing\n$/), 0]);
  expect(result.stdout).toMatch(/ 1 prompt in /);
  await using file = await SafetensorsFile.open(path('m.safetensors'));
  const shapes = [...file.tensors.values()].map(({ shape }) => shape);
  expect(shapes).toEqual(
    expect.arrayContaining([
      [1, 4, 32, 32],
      [1, 4],
    ]),
  );
});

test('embed and decode leave what they read as it is', async () => {
  writeFileSync(
    path('over.json'),
    JSON.stringify([{ name: 'p', mask_logits: { file: 'm.safetensors', tensor: 'm' } }]),
  );
  writeFileSync(path('m.safetensors'), '');
  const decode = ['decode', path('e.safetensors'), ...TINY, '--prompts', path('over.json')];
  for (const args of [
    ['embed', path('m.safetensors'), ...TINY, '-o', path('m.safetensors')],
    [...decode, '-o', path('e.safetensors')],
    [...decode, '-o', path('over.json')],
    [...decode, '-o', path('m.safetensors')],
  ]) {
    const { code, stderr } = await hrsam(args);
    expect([code, stderr]).toEqual([1, expect.stringContaining('would overwrite what is read')]);
  }
});

test.each([
  ['convert', ['tiny.safetensors', 'out.pth'], '.pth'],
  ['convert', ['tiny.safetensors', 'out.PT'], '.PT'],
  ['embed', ['x.jpg', '-o', 'out.jpg'], '.jpg'],
  ['decode', ['e.safetensors', '--prompts', 'p.json', '-o', 'out.png'], '.png'],
])('%s %s: no safetensors under the name of another format', async (command, args, extension) => {
  const { code, stderr } = await hrsam([command, ...args], { cwd: path('.') });
  expect([code, stderr]).toEqual([2, `hrsam: the output is .safetensors, not ${extension}\n`]);
});

describe('decode refuses', () => {
  const point = { name: 'p', points: [[[8, 8]]], labels: [[1]] };
  test.each<[string, unknown, string]>([
    ['what is no list', { prompts: [] }, 'prompts.json: expected a list; got {prompts}'],
    [
      'an unknown field',
      [{ ...point, box: [1, 2, 3, 4] }],
      '[0]: an unknown field: box; expected name, points',
    ],
    [
      'points without labels',
      [{ name: 'p', points: [[[8, 8]]] }],
      "prompt 'p': labels; expected one per point",
    ],
    [
      'more points than a prompt takes',
      [{ name: 'p', points: [Array(4097).fill([8, 8])], labels: [Array(4097).fill(1)] }],
      "prompt 'p': too many points; expected 4096 in one prompt at most; got 4097",
    ],
    ['a name twice', [point, point], 'two prompts have this name'],
    [
      'batches that differ',
      [
        {
          ...point,
          boxes: [
            [1, 1, 2, 2],
            [1, 1, 2, 2],
          ],
        },
      ],
      'points and boxes of different batches',
    ],
    ['a later mask', [{ ...point, mask_logits: { from_prompt: 'p', mask_index: 0 } }], 'from_prompt'],
    [
      'a mask of nowhere',
      [{ ...point, mask_logits: { path: 'x' } }],
      '[0].mask_logits: expected {"from_prompt"',
    ],
    [
      'a mask that is not there',
      [{ ...point, mask_logits: { file: 'none.safetensors', tensor: 'm' } }],
      'none.safetensors: does not exist',
    ],
    ...['../none.safetensors', '/none.safetensors'].map((file): [string, object[], string] => [
      `a mask elsewhere: ${file}`,
      [{ ...point, mask_logits: { file, tensor: 'm' } }],
      `a path out of the folder; expected one inside; got ${file}`,
    ]),
    [
      'a mask of odd sides',
      [{ ...point, mask_logits: { name: 'm', shape: [1, 1, 30, 32], offset: 0, scale: 1 } }],
      '(b, 1, h, w), h and w multiples of 4',
    ],
    [
      'a mask of more values than any input has',
      [{ ...point, mask_logits: { name: 'm', shape: [1, 65536, 65536], offset: 0, scale: 1 } }],
      'more than 67108864 values',
    ],
    ['half of a character for a name', [{ ...point, name: '\ud800' }], 'half of a character'],
    [
      'a fifth mask',
      [point, { ...point, name: 'q', mask_logits: { from_prompt: 'p', mask_index: 4 } }],
      'expected 0 to 3; got 4',
    ],
  ])('%s', async (_, prompts, message) => {
    writeFileSync(path('prompts.json'), JSON.stringify(prompts));
    const [embedding, output] = [path('zero.safetensors'), path('out.safetensors')];
    const data = new Float32Array(64 * 64);
    await writeSafetensors(embedding, [{ name: 'embedding', dtype: 'F32', shape: [1, 64, 8, 8], data }]);
    const { code, stderr } = await hrsam([
      'decode',
      embedding,
      ...TINY,
      '--prompts',
      path('prompts.json'),
      '-o',
      output,
    ]);
    expect(stderr).toContain(message);
    expect(code).toBe(1);
  });

  test('an embedding of another model', async () => {
    writeFileSync(path('prompts.json'), JSON.stringify([point]));
    const data = new Float32Array(32 * 4);
    await writeSafetensors(path('thin.safetensors'), [
      { name: 'embedding', dtype: 'F32', shape: [1, 32, 2, 2], data },
    ]);
    const args = [
      'decode',
      path('thin.safetensors'),
      ...TINY,
      '--prompts',
      path('prompts.json'),
      '-o',
      path('o.safetensors'),
    ];
    const { code, stderr } = await hrsam(args);
    expect(stderr).toContain('not an embedding of this model; expected (b, 64, h, w); got [1, 32, 2, 2]');
    expect(code).toBe(1);
  });
});

test('decode takes mask logits from a file beside the list, as it takes an earlier result', async () => {
  const points = { points: [[[40, 40]]], labels: [[1]] };
  await hrsamJson(['embed', photograph, ...TINY, '--size', '128', '-o', path('photo.safetensors')]);
  const decode = async (prompts: unknown, output: string) => {
    writeFileSync(path('p.json'), JSON.stringify(prompts));
    return hrsamJson([
      'decode',
      path('photo.safetensors'),
      ...TINY,
      '--prompts',
      path('p.json'),
      '-o',
      path(output),
    ]);
  };
  const chained = [
    { name: 'first', ...points },
    { name: 'second', ...points, mask_logits: { from_prompt: 'first', mask_index: 2 } },
  ];
  const { prompts } = await decode(chained, 'chained.safetensors');
  expect(prompts[1].masks).toEqual([1, 4, 32, 32]);
  await using file = await SafetensorsFile.open(path('chained.safetensors'));
  const masks = (await file.read('first/masks')) as Float32Array;
  const data = masks.slice(2 * 32 * 32, 3 * 32 * 32);
  await writeSafetensors(path('logits.safetensors'), [
    { name: 'm', dtype: 'F32', shape: [1, 1, 32, 32], data },
  ]);
  const again = await decode(
    [{ name: 'second', ...points, mask_logits: { file: 'logits.safetensors', tensor: 'm' } }],
    'again.safetensors',
  );
  expect(again.prompts[0].ious).toEqual(prompts[1].ious);
});

describe('info', () => {
  test('a preset: parameters as the reference counts them', async () => {
    const { variant, parameters } = await hrsamJson(['info', 'hrsam-b']);
    expect(variant).toBe('hrsam');
    expect(parameters).toEqual({ encoder: 96_369_152, prompt: 6_220, decoder: 4_058_340 });
  });

  test('FLOPs of the base model are those of the paper’s shapes', async () => {
    const { flops } = await hrsamJson(['info', 'hrsam-b', '--flops', '1024x1024']);
    expect(flops.total.flops / 1e12).toBeCloseTo(0.83, 2);
    const sum = flops.layers.reduce((total: number, layer: { flops: number }) => total + layer.flops, 0);
    expect(sum).toBe(flops.total.flops);
    const blocks = flops.layers.filter(({ layer }: { layer: string }) =>
      /^backbone\.blocks\.\d+$/.test(layer),
    );
    expect(blocks).toHaveLength(12);
    // 24 C² multiply-adds' FLOPs and the window's 4 · 256 · C a token, and the padding's one row
    expect(blocks[0].flops).toBeGreaterThan(4096 * (24 * 768 ** 2 + 4 * 256 * 768));
    expect(blocks[0].flops).toBeLessThan(1.01 * 4096 * (24 * 768 ** 2 + 4 * 256 * 768));
  });

  test('a file: how it is stored, its metadata and what is not of the model', async () => {
    const { stored, metadata, unexpected, variant } = await hrsamJson(['info', path('tiny.safetensors')]);
    expect([variant, stored.format, stored.dtypes]).toEqual(['hrsam', 'safetensors', ['F32']]);
    expect(metadata.origin).toBe('a test');
    expect(unexpected).toEqual(['optimizer.step']);
  });

  test('without a name the presets; for people a table', async () => {
    const { presets } = await hrsamJson(['info']);
    expect(presets.map(({ name }: { name: string }) => name)).toContain('sam-vit-h');
    const { stdout } = await hrsam(['info', 'hrsam-tiny', '--flops', '128']);
    expect(stdout).toMatch(/layer at 128 x 128 +GFLOP +MB\n/);
    expect(stdout).toMatch(/kFLOP per pixel\n$/);
  });

  test.skipIf(!existsSync('/dev/full'))('says when its output cannot be written', async () => {
    await hrsam(['--version']);
    const full = openSync('/dev/full', 'w');
    const args = [join(root, 'dist/hrsam.cjs'), 'info'];
    const { status, stderr } = spawnSync(process.execPath, args, { stdio: ['ignore', full, 'pipe'] });
    closeSync(full);
    expect([status, `${stderr}`]).toEqual([1, 'hrsam: the output cannot be written (ENOSPC)\n']);
  });

  test('refuses sizes that are none', async () => {
    expect((await hrsam(['info', 'hrsam-tiny', '--flops', '1024by3'])).code).toBe(2);
    const { code, stderr } = await hrsam(['info', 'hrsam-tiny', '--flops', '100x64']);
    expect([code, stderr]).toEqual([1, 'hrsam: size of the image; expected multiples of 16; got 100x64\n']);
  });
});

describe('convert', () => {
  test('keeps configuration, channel order and values; leaves out what is not of the model', async () => {
    const [input, output] = [path('tiny.safetensors'), path('converted.safetensors')];
    const result = await hrsamJson(['convert', input, output, '--channel-order', 'bgr', '--dtype', 'bf16']);
    expect(result).toMatchObject({ output, channelOrder: 'bgr', dropped: ['optimizer.step'] });
    const { config, stored, metadata } = await hrsamJson(['info', output]);
    expect(config.image.channelOrder).toBe('bgr');
    expect(stored.dtypes.sort()).toEqual(['BF16', 'F32']);
    expect(metadata.origin).toBe('a test');
    const masks = await hrsamJson(['segment', photograph, '-w', output, '-d', 'cpu', '-p', '300,400']);
    expect(masks.model.trained).toBe(true);
    expect(masks.masks).toHaveLength(1);
  });

  test('says what is wrong with its input and leaves no file', async () => {
    writeFileSync(path('text.pth'), 'not weights');
    const { code, stderr } = await hrsam(['convert', path('text.pth'), path('none.safetensors')]);
    expect([code, stderr]).toEqual([1, expect.stringContaining('is no weights file')]);
    expect((await hrsam(['info', path('none.safetensors')])).stderr).toContain('does not exist');
  });

  test('does not write over its input, by whatever name', async () => {
    const input = path('tiny.safetensors');
    symlinkSync(input, path('link.safetensors'));
    const before = readFileSync(input);
    for (const output of [
      input,
      path('link.safetensors'),
      path('../') + input.split('/').slice(-2).join('/'),
    ]) {
      const { code, stderr } = await hrsam(['convert', input, output, '--dtype', 'bf16']);
      expect([code, stderr]).toEqual([1, `hrsam: ${output}: would overwrite what is read\n`]);
    }
    expect(readFileSync(input).equals(before)).toBe(true);
  });

  test('a configuration that is no JSON', async () => {
    writeFileSync(path('config.json'), '{"backbone": ');
    const args = [
      'convert',
      path('tiny.safetensors'),
      path('y.safetensors'),
      '--config',
      path('config.json'),
    ];
    const { code, stderr } = await hrsam(args);
    expect([code, stderr]).toEqual([1, expect.stringContaining('config.json: is no JSON')]);
    // As editors of Windows write it: UTF-8 with a mark is read, UTF-16 is named.
    const text = '{"no such setting": 1}';
    writeFileSync(path('config.json'), `\uFEFF${text}`);
    expect((await hrsam(args)).stderr).toContain('no such setting');
    writeFileSync(path('config.json'), Buffer.from(`\uFEFF${text}`, 'utf16le'));
    expect((await hrsam(args)).stderr).toContain('config.json: is UTF-16; expected UTF-8');
  });
});

test('control characters of a file move no terminal’s cursor, and JSON stays JSON', async () => {
  const weights = path('control.safetensors');
  await writeTiny(weights, {}, { metadata: [['origin', 'a\u0007\u007f\u009b1mb']] });
  const { stdout } = await hrsam(['info', weights]);
  expect(stdout).toContain('metadata origin: a\\x07\\x7f\\x9b1mb\n');
  const { stdout: json } = await hrsam(['info', weights, '--json']);
  expect(json).toContain('a\\u0007\\u007f\\u009b1mb');
  expect(JSON.parse(json).metadata.origin).toBe('a\u0007\u007f\u009b1mb');
});
