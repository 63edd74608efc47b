import { HrsamError } from '../errors.js';
import { configFromAuthors } from './authors.js';
import type { ModelConfig } from './config.js';

/** Settings that tiny models share: small enough for tests, every part present. */
const tinyParts = (width: number, side: number) => ({
  neck: { embed_dim: width, image_embed_size: [side, side], input_image_size: [16 * side, 16 * side] },
  decode_head: {
    in_dim: width,
    attn_cfg: { depth: 2, mlp_dim: 2 * width, num_heads: 8 },
    iou_head_hidden_dim: width,
  },
});

const tinyBackbone = {
  window_size: 8,
  state_dim: 16,
  depth: 4,
  embed_dim: 96,
  num_heads: 3,
  final_embed_dim: 64,
};

const samEncoder = (embed_dim: number, depth: number, num_heads: number, global_attn_indexes: number[]) => ({
  image_encoder: { embed_dim, depth, num_heads, global_attn_indexes },
});

/** In the authors' keywords; what is left out is that of the published base model. */
const PRESETS = {
  'hrsam-b': { backbone: {} },
  'hrsam++-b': { backbone: { downsample_sizes: [512] } },
  'sam-vit-b': samEncoder(768, 12, 12, [2, 5, 8, 11]),
  'sam-vit-l': samEncoder(1024, 24, 16, [5, 11, 17, 23]),
  'sam-vit-h': samEncoder(1280, 32, 16, [7, 15, 23, 31]),
  'hrsam-tiny': {
    backbone: { ...tinyBackbone, out_indices: [1, 3] },
    ...tinyParts(64, 16),
    test_cfg: { target_size: 256 },
  },
  'hrsam++-tiny': {
    backbone: { ...tinyBackbone, out_indices: [0, 1, 2, 3], downsample_sizes: [64] },
    ...tinyParts(64, 16),
    test_cfg: { target_size: 256 },
  },
  'sam-tiny': {
    image_encoder: {
      img_size: 224,
      embed_dim: 96,
      depth: 4,
      num_heads: 3,
      window_size: 7,
      global_attn_indexes: [1, 3],
    },
  },
} as const;

export type PresetName = keyof typeof PRESETS;

export const PRESET_NAMES = Object.keys(PRESETS) as readonly PresetName[];

export const isPreset = (name: string): name is PresetName => Object.hasOwn(PRESETS, name);

/**
 * The configuration of a named model.
 * @param where what errors name
 * @throws HrsamError ERR_CONFIG for a name that is none of `PRESET_NAMES`
 */
export const presetConfig = (name: string, where?: string): ModelConfig => {
  if (isPreset(name)) return configFromAuthors(PRESETS[name], name);
  throw new HrsamError('ERR_CONFIG', `there is no preset ${name}`, {
    where,
    expected: PRESET_NAMES.join(', '),
  });
};
