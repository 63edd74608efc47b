import { describe, expect, it } from 'vitest';
import { HrsamError } from '../../lib/errors.js';
import { configFromAuthors } from '../../lib/weights/authors.js';
import {
  configFromMetadata,
  configToMetadata,
  type ModelConfig,
  validateConfig,
} from '../../lib/weights/config.js';
import type { FileDType } from '../../lib/weights/dtypes.js';
import { checkTensors, expectedTensors, MODEL_PARTS, type ModelPart } from '../../lib/weights/expected.js';
import { inferConfig } from '../../lib/weights/infer.js';
import { toInternalName } from '../../lib/weights/names.js';
import { PRESET_NAMES, presetConfig } from '../../lib/weights/presets.js';
import { hasShared, readJson } from '../support/reference.js';

const errorOf = (run: () => unknown): HrsamError => {
  try {
    run();
  } catch (error) {
    if (error instanceof HrsamError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
};

const internalShapes = (config: ModelConfig, parts?: readonly ModelPart[]) =>
  new Map(expectedTensors(config, parts).map(({ name, shape }) => [toInternalName(name), { shape }]));

const clone = <T>(value: T): T => structuredClone(value);

describe('the reference manifests', () => {
  interface ManifestConfig {
    config?: Record<string, unknown>;
    tensors: { name: string; shape: number[] }[];
  }
  const configs = (file: string): [string, ManifestConfig][] => Object.entries(readJson(file).configs);
  const plain = (tensors: readonly { name: string; shape: readonly number[] }[]) =>
    tensors.map(({ name, shape }) => `${name} ${shape.join('x')}`);

  it('list exactly the tensors of every HRSAM configuration, in order', () => {
    const all = configs('manifest.json');
    expect(all.length).toBeGreaterThan(hasShared ? 7 : 5);
    for (const [name, entry] of all) {
      expect(plain(expectedTensors(configFromAuthors(entry))), name).toEqual(plain(entry.tensors));
    }
  });

  it('list exactly the tensors of every SAM configuration, in order', () => {
    const part: Record<string, ModelPart> = {
      image_encoder: 'encoder',
      prompt_encoder: 'prompt',
      mask_decoder: 'decoder',
    };
    // gradient cases hold single blocks, or an encoder too narrow for any decoder
    const all = configs('sam/manifest.json').filter(([name]) => !name.startsWith('gradient/'));
    expect(all.length).toBeGreaterThan(11);
    for (const [name, { config, tensors }] of all) {
      const parts = MODEL_PARTS.filter((p) => Object.keys(config!).some((key) => part[key] === p));
      expect(plain(expectedTensors(configFromAuthors(config), parts)), name).toEqual(plain(tensors));
    }
  });
});

describe('expectedTensors', () => {
  const count = (config: ModelConfig, parts?: readonly ModelPart[]) =>
    expectedTensors(config, parts)
      .filter(({ optional }) => !optional)
      .reduce((sum, { shape }) => sum + shape.reduce((a, b) => a * b, 1), 0);

  it('counts the parameters of the published models', () => {
    expect(count(presetConfig('hrsam-b'), ['encoder'])).toBe(96_369_152);
    expect(count(presetConfig('hrsam++-b'), ['encoder'])).toBe(106_934_016);
    expect(count(presetConfig('sam-vit-b'), ['encoder'])).toBe(89_670_912);
    expect(count(presetConfig('hrsam-b'), ['decoder'])).toBe(4_058_340);
  });

  it('marks only the rotary frequencies as optional', () => {
    const optional = expectedTensors(presetConfig('hrsam-b')).filter((tensor) => tensor.optional);
    expect(optional).toEqual([{ name: 'backbone.rope.freqs', shape: [16], optional: true }]);
  });
});

describe('configFromAuthors', () => {
  it('reads the keywords of the published configurations', () => {
    const config = configFromAuthors({
      model: {
        type: 'SimpleSegmentor',
        freeze_neck: true,
        backbone: {
          type: 'HRSAMPlusPlusViT',
          downsample_sizes: [512, [48, 80]],
          window_size: 8,
          drop_path_rate: 0.2,
          depth: 4,
          embed_dim: 96,
          num_heads: 3,
          out_indices: [1, 3],
          final_embed_dim: 64,
        },
        neck: { embed_dim: 64 },
        decode_head: { in_dim: 64, attn_cfg: { num_heads: 4 }, align_corners: false, loss_decode: [] },
        test_cfg: { target_size: 2048 },
      },
    });
    expect(config).toMatchObject({
      family: 'hrsam',
      variant: 'hrsam++',
      encoder: {
        downsampleSizes: [
          [512, 512],
          [48, 80],
        ],
        heads: 3,
        posGrid: 14,
        attention: ['plain', 'shifted', 'plain', 'shifted'],
        rope: { theta: 10000, scale: 0.5 },
      },
      prompt: { imageEmbedSize: [64, 64], resizePositions: true },
      decoder: { heads: 4, mlpDim: 2048, downsampleRate: 2 },
      image: { channelOrder: 'rgb', resize: 'bilinear', size: 2048 },
    });
  });

  it('reads SAM, with its own preprocessing', () => {
    const config = configFromAuthors({ image_encoder: { embed_dim: 1280, depth: 32, num_heads: 16 } });
    expect(config).toMatchObject({
      family: 'sam',
      encoder: { embedDim: 1280, imgSize: 1024, windowSize: 14, normEps: 1e-6 },
      prompt: { resizePositions: false, inputImageSize: [1024, 1024] },
      image: { resize: 'antialias', size: 1024 },
    });
  });

  it('lets every block attend the same way', () => {
    const config = configFromAuthors({ backbone: { attention: 'swin' } });
    expect(config.family === 'hrsam' && config.encoder.attention).toEqual(Array(12).fill('swin'));
  });

  it('knows models whose answers are refined', () => {
    const refinements = (count?: number) =>
      configFromAuthors({ backbone: {}, decode_head: { num_refinements: count } }).decoder.refinements;
    expect([refinements(), refinements(0), refinements(2)]).toEqual([undefined, undefined, 2]);
  });

  it('knows models whose answers are made from coarse to fine', () => {
    const coarse = (wanted?: boolean) =>
      configFromAuthors({ backbone: {}, decode_head: { coarse_to_fine: wanted } }).decoder.coarseToFine;
    expect([coarse(), coarse(false), coarse(true)]).toEqual([undefined, undefined, true]);
  });

  it('knows models whose masks lose what is apart from the clicks', () => {
    const share = (wanted?: number) =>
      configFromAuthors({ backbone: {}, decode_head: { min_region: wanted } }).decoder.minRegion;
    expect([share(), share(0), share(0.5)]).toEqual([undefined, undefined, 0.5]);
  });

  it.each<[string, unknown, RegExp]>([
    [
      'an unknown keyword',
      { backbone: { windows: 3 } },
      /backbone: an unknown field: windows; expected .*window_size/,
    ],
    [
      'an unknown nested keyword',
      { backbone: {}, decode_head: { attn_cfg: { x: 1 } } },
      /decode_head\.attn_cfg.*num_heads/,
    ],
    [
      'an unknown SAM keyword',
      { mask_decoder: { transformer: { dim: 1 } } },
      /mask_decoder\.transformer: an unknown field: dim; expected .*mlp_dim/,
    ],
    [
      'a prototype key',
      JSON.parse('{"backbone": {"__proto__": {"depth": 2}}}'),
      /an unknown field: __proto__/,
    ],
    ['a wrong type', { backbone: { depth: '12' } }, /backbone\.depth/],
    ['an absurd depth', { backbone: { depth: 1e9 } }, /encoder\.depth/],
    ['pictures of one channel', { backbone: { in_dim: 1 } }, /encoder\.inDim/],
    ['pictures of four', { image_encoder: { in_chans: 4 } }, /encoder\.inChans/],
    ['heads that do not divide', { backbone: { num_heads: 7 } }, /encoder\.heads/],
    ['endless refinements', { backbone: {}, decode_head: { num_refinements: 9 } }, /decoder\.refinements/],
    ['a share above all', { backbone: {}, decode_head: { min_region: 1.5 } }, /decoder\.minRegion/],
    ['stages beyond the depth', { backbone: { depth: 4 } }, /encoder\.stageEnds/],
    ['two widths', { backbone: {}, neck: { embed_dim: 128 } }, /must be equal/],
    ['another variant', { variant: 'hrsam', backbone: { downsample_sizes: [512] } }, /downsampleSizes/],
    ['align_corners', { backbone: {}, decode_head: { align_corners: true } }, /align_corners/],
    ['a threshold', { image_encoder: {}, mask_threshold: 0.5 }, /mask_threshold/],
    ['no known part', { encoder: {} }, /neither an HRSAM nor a SAM/],
    ['no object', [1], /no JSON object/],
    ['null', null, /no JSON object/],
  ])('rejects %s', (_, json, message) => {
    const error = errorOf(() => configFromAuthors(json, 'my.json'));
    expect(error.code).toBe('ERR_CONFIG');
    expect(error.message).toMatch(message);
    expect(error.where).toMatch(/my\.json/);
  });
});

describe('metadata', () => {
  const tiny = presetConfig('hrsam-tiny');

  it.each(PRESET_NAMES)('carries %s unchanged', (name) => {
    const config = presetConfig(name);
    expect(configFromMetadata(new Map([configToMetadata(config)]))).toEqual(config);
  });

  it('may be absent', () => {
    expect(configFromMetadata(new Map([['format', 'pt']]))).toBeUndefined();
  });

  it.each([
    ['no JSON', '{', /no JSON/],
    ['a missing field', '{"family":"hrsam"}', /encoder/],
    ['another family', '{"family":"vit"}', /family/],
    ['null', 'null', /hrsam\.config/],
    [
      'a size that is no multiple of the patch',
      configToMetadata({ ...tiny, image: { ...tiny.image, size: 3 } })[1],
      /image\.size: must be a multiple of encoder\.patchSize/,
    ],
  ])('rejects %s', (_, text, message) => {
    const error = errorOf(() => configFromMetadata(new Map([['hrsam.config', text]]), 'w.safetensors'));
    expect(error.code).toBe('ERR_CONFIG');
    expect(error.message).toMatch(message);
    expect(error.message).toMatch(/^w\.safetensors: hrsam\.config/);
  });

  it('rejects fields that it does not know', () => {
    const config = { ...presetConfig('hrsam-tiny'), extra: 1 };
    expect(errorOf(() => validateConfig(config)).message).toMatch(/extra/);
  });
});

describe('inferConfig', () => {
  it.each(['hrsam-b', 'hrsam++-b', 'sam-vit-b', 'sam-vit-l', 'sam-vit-h', 'sam-tiny'])(
    'recognises %s',
    (name) => {
      const config = presetConfig(name);
      expect(inferConfig(internalShapes(config))).toEqual(config);
    },
  );

  it('says what a small HRSAM++ must be told', () => {
    const error = errorOf(() => inferConfig(internalShapes(presetConfig('hrsam++-tiny')), 'tiny.pth'));
    expect(error.code).toBe('ERR_CONFIG');
    expect(error.message).toMatch(
      /^tiny\.pth: .*backbone.num_heads, backbone.window_size, backbone.out_indices, backbone.downsample_sizes.*--config/,
    );
  });

  it('asks for the windows of a SAM encoder without relative positions', () => {
    const config = clone(presetConfig('sam-tiny'));
    if (config.family === 'sam') config.encoder.useRelPos = false;
    expect(errorOf(() => inferConfig(internalShapes(config))).message).toMatch(
      /image_encoder.window_size, image_encoder.global_attn_indexes/,
    );
  });

  it('recognises an encoder whose blocks are all global', () => {
    const config = clone(presetConfig('sam-tiny'));
    if (config.family === 'sam') Object.assign(config.encoder, { windowSize: 0, globalBlocks: [0, 1, 2, 3] });
    expect(inferConfig(internalShapes(config))).toEqual(config);
  });

  it('names what is missing or has no sense', () => {
    const without = internalShapes(presetConfig('sam-vit-b'));
    without.delete('decode_head.iou_token.weight');
    expect(errorOf(() => inferConfig(without)).message).toMatch(/no tensor decode_head\.iou_token\.weight/);
    const flat = internalShapes(presetConfig('hrsam-b'));
    flat.set('backbone.pos_embed', { shape: [197, 768] });
    expect(errorOf(() => inferConfig(flat)).message).toMatch(/backbone\.pos_embed has 2 dimensions/);
    const odd = internalShapes(presetConfig('hrsam-b'));
    odd.set('backbone.pos_embed', { shape: [1, 100, 768] });
    expect(errorOf(() => inferConfig(odd)).message).toMatch(/posGrid/);
    expect(errorOf(() => inferConfig(new Map())).message).toMatch(/no HRSAM .* or SAM/);
    const hollow = internalShapes(presetConfig('sam-tiny'));
    for (const name of hollow.keys()) if (name.endsWith('.norm1.weight')) hollow.delete(name);
    expect(errorOf(() => inferConfig(hollow)).code).toBe('ERR_CONFIG');
  });
});

describe('checkTensors', () => {
  const config = presetConfig('hrsam-tiny');

  it('accepts what fits and lists what is unknown', () => {
    const tensors = internalShapes(config);
    tensors.delete('backbone.rope.freqs');
    tensors.set('teacher.weight', { shape: [1] });
    expect(checkTensors(config, tensors)).toEqual({ unexpected: ['teacher.weight'] });
  });

  it('accepts one part alone', () => {
    const tensors = internalShapes(config, ['decoder']);
    expect(checkTensors(config, tensors, { parts: ['decoder'] }).unexpected).toEqual([]);
    expect(errorOf(() => checkTensors(config, tensors)).message).toMatch(/missing/);
  });

  it('lists what is missing, with what the file has instead', () => {
    const tensors = internalShapes(config);
    for (const name of [...tensors.keys()].slice(0, 20)) tensors.delete(name);
    const skipped = new Map([['backbone.pos_embed', 'a call of posix.system']]);
    const error = errorOf(() => checkTensors(config, tensors, { skipped, where: 'w.pth' }));
    expect(error.code).toBe('ERR_CONFIG');
    // 20 are gone, one of them optional
    expect(error.message).toMatch(
      /^w\.pth: .*19 missing: backbone\.pos_embed \(a call of posix\.system\).* and 11 more$/,
    );
  });

  it('lists other shapes with both shapes', () => {
    const tensors = internalShapes(config);
    tensors.set('backbone.blocks.0.attn.qkv.weight', { shape: [96, 288] });
    tensors.set('neck.no_mask_embed.weight', { shape: [64] });
    expect(errorOf(() => checkTensors(config, tensors)).message).toMatch(
      /2 of another shape: .*qkv\.weight is \[96,288\], not \[288,96\], neck\.no_mask_embed\.weight is \[64\], not \[1,64\]/,
    );
  });

  it.each(['I32', 'U8', 'BOOL', 'F8_E4M3'] as const)('refuses weights that are %s', (dtype) => {
    const name = 'backbone.blocks.0.norm1.weight';
    const tensors = new Map<string, { shape: readonly number[]; dtype?: FileDType }>(internalShapes(config));
    tensors.set(name, { ...tensors.get(name)!, dtype });
    expect(errorOf(() => checkTensors(config, tensors)).message).toContain(
      `1 not F32, F16, BF16 or F64: ${name} is ${dtype}`,
    );
    expect(checkTensors(config, tensors.set(name, { ...tensors.get(name)!, dtype: 'F16' }))).toBeDefined();
  });
});

describe('presets', () => {
  it('are listed when a name is unknown', () => {
    expect(errorOf(() => presetConfig('constructor')).message).toMatch(/hrsam-b, hrsam\+\+-b, sam-vit-b/);
  });
});
