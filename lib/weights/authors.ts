import { z } from 'zod';
import { HrsamError } from '../errors.js';
import { parse } from '../issues.js';
import {
  ATTENTION_KINDS,
  type AttentionKind,
  alternatingAttention,
  IMAGE_MEAN,
  IMAGE_STD,
  type ModelConfig,
  ROPE_THETA,
  validateConfig,
} from './config.js';

/**
 * The keyword names of the published code: HRSAM's training configs (`backbone`, `neck`, `decode_head`) and SAM's builders
 * (`image_encoder`, `prompt_encoder`, `mask_decoder`). A missing keyword takes the value of the published base model.
 * Ranges are checked afterwards, by `validateConfig`; here only names and types.
 */
const number = z.number();
const pair = z.union(
  [number.transform((n): [number, number] => [n, n]), z.tuple([number, number])],
  'expected a number or two of them',
);
const ignored = z.unknown().optional();

/** Keywords that matter in training only, or that name the Python class. */
const trainingOnly = { type: ignored, init_cfg: ignored };

const normalisation = {
  mean: z.array(number).default(IMAGE_MEAN),
  std: z.array(number).default(IMAGE_STD),
  /** Ours: the order of the channels that the checkpoint was trained on. */
  channel_order: z.enum(['rgb', 'bgr']).default('rgb'),
};

const backboneSchema = z.strictObject({
  downsample_sizes: z.array(pair).default([]),
  window_size: number.default(16),
  state_dim: number.default(32),
  extend_ratio: number.default(3),
  in_dim: number.default(3),
  img_size: number.default(224),
  patch_size: number.default(16),
  depth: number.default(12),
  embed_dim: number.default(768),
  num_heads: number.default(12),
  mlp_ratio: number.default(4),
  out_indices: z.array(number).default([2, 5, 8, 11]),
  final_embed_dim: number.default(256),
  pt_seq_len: number.default(7),
  ft_seq_len: number.default(14),
  /** Ours: one kind for all blocks, or one per block. */
  attention: z
    .union(
      [z.enum(ATTENTION_KINDS), z.array(z.enum(ATTENTION_KINDS))],
      `expected ${ATTENTION_KINDS.join(', ')} or a list of them`,
    )
    .optional(),
  drop_rate: ignored,
  attn_drop_rate: ignored,
  drop_path_rate: ignored,
  use_checkpoint: ignored,
  ...trainingOnly,
});

const neckSchema = z.strictObject({
  embed_dim: number.optional(),
  image_embed_size: pair.default([64, 64]),
  input_image_size: pair.optional(),
  mask_in_dim: number.default(16),
  ...trainingOnly,
});

const decodeHeadSchema = z.strictObject({
  in_dim: number.optional(),
  attn_cfg: z
    .strictObject({ depth: number.default(2), mlp_dim: number.default(2048), num_heads: number.default(8) })
    .prefault({}),
  num_multimask_outputs: number.default(3),
  iou_head_depth: number.default(3),
  iou_head_hidden_dim: number.default(256),
  /** Ours: see `refinements` of the decoder's configuration. */
  num_refinements: number.optional(),
  /** Ours too: see `coarseToFine`. */
  coarse_to_fine: z.boolean().optional(),
  /** And ours: see `minRegion`. */
  min_region: number.optional(),
  align_corners: z.literal(false).optional(),
  loss_decode: ignored,
  ...trainingOnly,
});

const hrsamAuthors = z.strictObject({
  variant: z.enum(['hrsam', 'hrsam++']).optional(),
  backbone: backboneSchema,
  neck: neckSchema.prefault({}),
  decode_head: decodeHeadSchema.prefault({}),
  image_normalisation: z.strictObject(normalisation).prefault({}),
  test_cfg: z.looseObject({ target_size: number.optional() }).prefault({}),
  parameters: ignored,
  tensors: ignored,
  train_cfg: ignored,
  remove_backbone: ignored,
  freeze_backbone: ignored,
  freeze_neck: ignored,
  freeze_decode_head: ignored,
  image_embed_loader: ignored,
  ...trainingOnly,
});

const imageEncoderSchema = z.strictObject({
  img_size: number.optional(),
  patch_size: number.default(16),
  in_chans: number.default(3),
  embed_dim: number.default(768),
  depth: number.default(12),
  num_heads: number.default(12),
  mlp_ratio: number.default(4),
  out_chans: number.optional(),
  qkv_bias: z.boolean().default(true),
  norm_eps: number.default(1e-6),
  use_abs_pos: z.boolean().default(true),
  use_rel_pos: z.boolean().default(true),
  window_size: number.default(14),
  global_attn_indexes: z.array(number).default([2, 5, 8, 11]),
  table_rows: z.strictObject({ windowed: pair, global: pair }).optional(),
});

const samAuthors = z.strictObject({
  image_encoder: imageEncoderSchema.prefault({}),
  prompt_encoder: z
    .strictObject({
      embed_dim: number.optional(),
      image_embedding_size: pair.optional(),
      input_image_size: pair.optional(),
      mask_in_chans: number.default(16),
    })
    .prefault({}),
  mask_decoder: z
    .strictObject({
      transformer_dim: number.optional(),
      num_multimask_outputs: number.default(3),
      iou_head_depth: number.default(3),
      iou_head_hidden_dim: number.default(256),
      transformer: z
        .strictObject({
          depth: number.default(2),
          embedding_dim: number.optional(),
          mlp_dim: number.default(2048),
          num_heads: number.default(8),
          attention_downsample_rate: number.default(2),
        })
        .prefault({}),
    })
    .prefault({}),
  pixel_mean: normalisation.mean,
  pixel_std: normalisation.std,
  channel_order: normalisation.channel_order,
  mask_threshold: z.literal(0).optional(),
  img_size: number.optional(),
});

const fromHrsam = ({
  backbone: b,
  neck,
  decode_head: head,
  ...rest
}: z.infer<typeof hrsamAuthors>): unknown => {
  const attention: AttentionKind[] =
    typeof b.attention === 'string'
      ? Array.from({ length: Math.min(b.depth, 256) }, () => b.attention as AttentionKind)
      : (b.attention ?? alternatingAttention(Math.min(b.depth, 256)));
  return {
    family: 'hrsam',
    variant: rest.variant ?? (b.downsample_sizes.length > 0 ? 'hrsam++' : 'hrsam'),
    encoder: {
      embedDim: b.embed_dim,
      depth: b.depth,
      heads: b.num_heads,
      windowSize: b.window_size,
      stateDim: b.state_dim,
      cycles: b.extend_ratio,
      patchSize: b.patch_size,
      inDim: b.in_dim,
      posGrid: Math.floor(b.img_size / b.patch_size),
      mlpRatio: b.mlp_ratio,
      stageEnds: b.out_indices,
      outDim: b.final_embed_dim,
      downsampleSizes: b.downsample_sizes,
      attention,
      rope: { theta: ROPE_THETA, scale: b.pt_seq_len / b.ft_seq_len },
    },
    prompt: {
      embedDim: neck.embed_dim ?? b.final_embed_dim,
      imageEmbedSize: neck.image_embed_size,
      inputImageSize: neck.input_image_size ?? [
        b.patch_size * neck.image_embed_size[0],
        b.patch_size * neck.image_embed_size[1],
      ],
      maskInDim: neck.mask_in_dim,
      resizePositions: true,
    },
    decoder: {
      dim: head.in_dim ?? b.final_embed_dim,
      depth: head.attn_cfg.depth,
      mlpDim: head.attn_cfg.mlp_dim,
      heads: head.attn_cfg.num_heads,
      multimaskOutputs: head.num_multimask_outputs,
      iouDepth: head.iou_head_depth,
      iouHiddenDim: head.iou_head_hidden_dim,
      downsampleRate: 2,
      ...(head.num_refinements && { refinements: head.num_refinements }),
      ...(head.coarse_to_fine && { coarseToFine: true as const }),
      ...(head.min_region && { minRegion: head.min_region }),
    },
    image: {
      mean: rest.image_normalisation.mean,
      std: rest.image_normalisation.std,
      channelOrder: rest.image_normalisation.channel_order,
      resize: 'bilinear',
      size: rest.test_cfg.target_size ?? 1024,
    },
  };
};

const fromSam = (config: z.infer<typeof samAuthors>): unknown => {
  const { image_encoder: e, prompt_encoder: prompt, mask_decoder: decoder } = config;
  // A part that is left out takes what the others imply, so that encoder or decoder can be described alone.
  const imgSize = e.img_size ?? config.img_size ?? Math.max(...(prompt.input_image_size ?? [1024]));
  const grid = Math.floor(imgSize / e.patch_size);
  const dim = e.out_chans ?? decoder.transformer_dim ?? prompt.embed_dim ?? 256;
  return {
    family: 'sam',
    encoder: {
      imgSize,
      patchSize: e.patch_size,
      inChans: e.in_chans,
      embedDim: e.embed_dim,
      depth: e.depth,
      heads: e.num_heads,
      mlpRatio: e.mlp_ratio,
      outChans: dim,
      qkvBias: e.qkv_bias,
      useAbsPos: e.use_abs_pos,
      useRelPos: e.use_rel_pos,
      windowSize: e.window_size,
      globalBlocks: e.global_attn_indexes,
      normEps: e.norm_eps,
      ...(e.table_rows && { relPosRows: e.table_rows }),
    },
    prompt: {
      embedDim: prompt.embed_dim ?? dim,
      imageEmbedSize: prompt.image_embedding_size ?? [grid, grid],
      inputImageSize: prompt.input_image_size ?? [imgSize, imgSize],
      maskInDim: prompt.mask_in_chans,
      resizePositions: false,
    },
    decoder: {
      dim: decoder.transformer_dim ?? dim,
      depth: decoder.transformer.depth,
      mlpDim: decoder.transformer.mlp_dim,
      heads: decoder.transformer.num_heads,
      multimaskOutputs: decoder.num_multimask_outputs,
      iouDepth: decoder.iou_head_depth,
      iouHiddenDim: decoder.iou_head_hidden_dim,
      downsampleRate: decoder.transformer.attention_downsample_rate,
    },
    image: {
      mean: config.pixel_mean,
      std: config.pixel_std,
      channelOrder: config.channel_order,
      resize: 'antialias',
      size: imgSize,
    },
  };
};

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** The settings inside `{config: …}` or `{model: …}`, as published configs and test cases wrap them. */
const unwrap = (json: unknown): unknown => {
  let at = json;
  for (const key of ['model', 'config']) {
    if (isObject(at) && isObject(at[key])) at = at[key];
  }
  return at;
};

/** Keywords that describe a training: what a model is does not depend on them. */
const OF_TRAINING = [
  'drop_rate',
  'attn_drop_rate',
  'drop_path_rate',
  'use_checkpoint',
  'init_cfg',
  'loss_decode',
  'train_cfg',
  'remove_backbone',
  'freeze_backbone',
  'freeze_neck',
  'freeze_decode_head',
  'image_embed_loader',
];

/** Those of a configuration in the authors' keywords that ask for something. */
export function trainingKeywords(json: unknown): string[] {
  const config = unwrap(json);
  if (!isObject(config)) return [];
  const parts = [config, config.backbone, config.neck, config.decode_head].filter(isObject);
  return OF_TRAINING.filter((key) => parts.some((part) => part[key]));
}

/**
 * A model configuration from one in its authors' keywords: HRSAM's (`backbone`, `neck`, `decode_head`) or SAM's
 * (`image_encoder`, `prompt_encoder`, `mask_decoder`).
 * @param json parsed JSON
 * @throws HrsamError ERR_CONFIG for unknown keywords (lists the known ones), wrong types, contradictions
 */
export const configFromAuthors = (json: unknown, where = 'configuration'): ModelConfig => {
  const config = unwrap(json);
  if (!isObject(config)) {
    throw new HrsamError('ERR_CONFIG', 'is no JSON object', {
      where,
      expected: '{"backbone": …} or {"image_encoder": …}',
    });
  }
  if ('family' in config) return validateConfig(config, where);
  if ('backbone' in config)
    return validateConfig(fromHrsam(parse(hrsamAuthors, config, 'ERR_CONFIG', { where })), where);
  if (['image_encoder', 'prompt_encoder', 'mask_decoder'].some((key) => key in config)) {
    return validateConfig(fromSam(parse(samAuthors, config, 'ERR_CONFIG', { where })), where);
  }
  throw new HrsamError('ERR_CONFIG', 'describes neither an HRSAM nor a SAM model', {
    where,
    expected: 'backbone, neck, decode_head, or image_encoder, prompt_encoder, mask_decoder',
    actual: Object.keys(config),
  });
};
