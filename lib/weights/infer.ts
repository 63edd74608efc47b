import { HrsamError } from '../errors.js';
import {
  alternatingAttention,
  type DecoderConfig,
  IMAGE_MEAN,
  IMAGE_STD,
  type ModelConfig,
  type PromptConfig,
  ROPE_THETA,
  validateConfig,
} from './config.js';

/** Tensors by the model's names. */
export type Shapes = ReadonlyMap<string, { readonly shape: readonly number[] }>;

const fail = (summary: string, where: string): never => {
  throw new HrsamError('ERR_CONFIG', summary, { where });
};

/** Looks shapes up; what is not there or has another rank is an error that names it. */
class Lookup {
  constructor(
    private readonly tensors: Shapes,
    readonly where: string,
  ) {}

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  shape(name: string, rank: number): readonly number[] {
    const shape = this.tensors.get(name)?.shape;
    if (!shape) return fail(`the configuration cannot be inferred: there is no tensor ${name}`, this.where);
    if (shape.length !== rank) {
      return fail(
        `the configuration cannot be inferred: ${name} has ${shape.length} dimensions, not ${rank}`,
        this.where,
      );
    }
    return shape;
  }

  /** How many of `prefix0suffix`, `prefix1suffix` … there are. */
  count(prefix: string, suffix: string): number {
    let n = 0;
    while (this.has(`${prefix}${n}${suffix}`)) n++;
    return n;
  }
}

const inferPrompt = (look: Lookup, grid: number, pixels: number, resizePositions: boolean): PromptConfig => ({
  embedDim: look.shape('neck.no_mask_embed.weight', 2)[1]!,
  imageEmbedSize: [grid, grid],
  inputImageSize: [pixels, pixels],
  maskInDim: look.shape('neck.mask_downscaling.3.weight', 4)[0]!,
  resizePositions,
});

/** Undefined when the width is not the published 256: the number of heads leaves no trace in the shapes. */
const inferDecoder = (look: Lookup): DecoderConfig | undefined => {
  const dim = look.shape('decode_head.iou_token.weight', 2)[1]!;
  if (dim !== 256) return undefined;
  const layers = 'decode_head.transformer.layers.';
  return {
    dim,
    depth: look.count(layers, '.norm1.weight'),
    mlpDim: look.shape(`${layers}0.mlp.lin1.weight`, 2)[0]!,
    heads: 8,
    multimaskOutputs: look.shape('decode_head.mask_tokens.weight', 2)[0]! - 1,
    iouDepth: look.count('decode_head.iou_prediction_head.layers.', '.weight'),
    iouHiddenDim: look.shape('decode_head.iou_prediction_head.layers.0.weight', 2)[0]!,
    downsampleRate: dim / look.shape(`${layers}0.cross_attn_token_to_image.q_proj.weight`, 2)[0]!,
  };
};

const needsConfig = (fields: readonly string[], where: string): never =>
  fail(
    `the tensors do not tell ${fields.join(', ')}: pass a configuration (config, --config) in the authors' ` +
      'keywords, these among them; what it leaves out is as in the published base model',
    where,
  );

const inferSam = (look: Lookup): unknown => {
  const encoder = 'image_encoder';
  const [embedDim, inChans, patchSize] = look.shape(`${encoder}.patch_embed.proj.weight`, 4) as [
    number,
    number,
    number,
  ];
  const depth = look.count(`${encoder}.blocks.`, '.norm1.weight');
  if (depth === 0 || !look.has(`${encoder}.blocks.0.attn.rel_pos_h`)) {
    const fields = ['window_size', 'global_attn_indexes', 'num_heads'];
    return needsConfig(
      fields.map((field) => `${encoder}.${field}`),
      look.where,
    );
  }
  const decoder = inferDecoder(look) ?? needsConfig(['mask_decoder.transformer.num_heads'], look.where);
  const tables = Array.from({ length: depth }, (_, i) =>
    look.shape(`${encoder}.blocks.${i}.attn.rel_pos_h`, 2),
  );
  const rows = tables.map(([length]) => length!);
  const useAbsPos = look.has(`${encoder}.pos_embed`);
  const grid = useAbsPos ? look.shape(`${encoder}.pos_embed`, 4)[1]! : (Math.max(...rows) + 1) / 2;
  const isGlobal = rows.map((length) => length === 2 * grid - 1);
  const windowed = rows.find((_, i) => !isGlobal[i]);
  return {
    family: 'sam',
    encoder: {
      imgSize: grid * patchSize,
      patchSize,
      inChans,
      embedDim,
      depth,
      heads: embedDim / tables[0]![1]!,
      mlpRatio: look.shape(`${encoder}.blocks.0.mlp.lin1.weight`, 2)[0]! / embedDim,
      outChans: look.shape(`${encoder}.neck.0.weight`, 4)[0]!,
      qkvBias: look.has(`${encoder}.blocks.0.attn.qkv.bias`),
      useAbsPos,
      useRelPos: true,
      windowSize: windowed === undefined ? 0 : (windowed + 1) / 2,
      globalBlocks: isGlobal.flatMap((global, i) => (global ? [i] : [])),
      normEps: 1e-6,
    },
    prompt: inferPrompt(look, grid, grid * patchSize, false),
    decoder,
    image: {
      mean: IMAGE_MEAN,
      std: IMAGE_STD,
      channelOrder: 'rgb',
      resize: 'antialias',
      size: grid * patchSize,
    },
  };
};

const inferHrsam = (look: Lookup): unknown => {
  const [embedDim, inDim, patchSize] = look.shape('backbone.patch_embed.proj.weight', 4) as [
    number,
    number,
    number,
  ];
  const depth = look.count('backbone.blocks.', '.norm1.weight');
  const stages = look.count('backbone.lateral_convs.', '.0.weight');
  const plusPlus = look.has('backbone.ss_mamba_blocks.0.As_log');
  const scan = plusPlus ? 'backbone.ss_mamba_blocks.0' : 'backbone.mamba_blocks.0';
  const [outDim, fused] = look.shape('backbone.lateral_convs.0.0.weight', 2) as [number, number];
  const decoder = inferDecoder(look);
  // What the tensors do not show is known for the published size only.
  const published = embedDim === 768 && depth === 12 && stages === 4 && fused <= 2 * embedDim;
  if (!published || !decoder) {
    const fields = ['num_heads', 'window_size', 'out_indices', ...(plusPlus ? ['downsample_sizes'] : [])];
    return needsConfig(
      [...fields.map((field) => `backbone.${field}`), 'decode_head.attn_cfg.num_heads'],
      look.where,
    );
  }
  return {
    family: 'hrsam',
    variant: plusPlus ? 'hrsam++' : 'hrsam',
    encoder: {
      embedDim,
      depth,
      heads: embedDim / 64,
      windowSize: 16,
      stateDim: look.shape(`${scan}.As_log`, 2)[1]!,
      cycles: look.shape(`${scan}.gamma`, 3)[1]!,
      patchSize,
      inDim,
      posGrid: Math.sqrt(look.shape('backbone.pos_embed', 3)[1]! - 1),
      mlpRatio: look.shape('backbone.blocks.0.mlp.fc1.weight', 2)[0]! / embedDim,
      stageEnds: [2, 5, 8, 11],
      outDim,
      downsampleSizes: plusPlus ? [[512, 512]] : [],
      attention: alternatingAttention(depth),
      rope: { theta: ROPE_THETA, scale: 0.5 },
    },
    prompt: inferPrompt(look, 64, 64 * patchSize, true),
    decoder,
    image: { mean: IMAGE_MEAN, std: IMAGE_STD, channelOrder: 'rgb', resize: 'bilinear', size: 1024 },
  };
};

/**
 * The configuration of a checkpoint from its tensors' shapes, where they tell it: SAM with relative positions and the
 * published decoder width; HRSAM of the published size (its heads, windows, stages and the 512-pixel copy of HRSAM++ leave no
 * trace in the shapes).
 * @param tensors by the model's names
 * @throws HrsamError ERR_CONFIG that names the keywords a configuration must give
 */
export const inferConfig = (tensors: Shapes, where = 'weights'): ModelConfig => {
  const look = new Lookup(tensors, where);
  const sam = look.has('image_encoder.patch_embed.proj.weight');
  if (!sam && !look.has('backbone.patch_embed.proj.weight')) {
    return fail(
      'no HRSAM (backbone.*, neck.*, decode_head.*) or SAM (image_encoder.*, prompt_encoder.*, mask_decoder.*) tensors',
      where,
    );
  }
  return validateConfig(sam ? inferSam(look) : inferHrsam(look), `${where}: inferred configuration`);
};
