import { firstOf, HrsamError } from '../errors.js';
import type { DecoderConfig, HrsamConfig, ModelConfig, PromptConfig, SamConfig } from './config.js';
import { type FileDType, isWeightType } from './dtypes.js';
import { toInternalName } from './names.js';

/** A tensor that a model of some configuration has, under its official name. */
export interface ExpectedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  /** True for a buffer that the model computes by itself: files may leave it out. */
  readonly optional?: boolean;
}

export const MODEL_PARTS = ['encoder', 'prompt', 'decoder'] as const;
export type ModelPart = (typeof MODEL_PARTS)[number];

/** Collects names and shapes below a prefix. */
class Scope {
  constructor(
    private readonly out: ExpectedTensor[],
    private readonly prefix: string,
  ) {}

  at(name: string | number): Scope {
    return new Scope(this.out, `${this.prefix}${name}.`);
  }

  add(name: string, shape: number[], optional = false): void {
    this.out.push({ name: this.prefix + name, shape, ...(optional && { optional }) });
  }

  /** A weight of any shape whose first axis is the output, and its bias. */
  affine(name: string | number, shape: number[], bias = true): void {
    const scope = this.at(name);
    scope.add('weight', shape);
    if (bias) scope.add('bias', [shape[0]!]);
  }

  norm(name: string | number, channels: number): void {
    this.affine(name, [channels]);
  }
}

const cycleScan = (scope: Scope, { embedDim: c, stateDim, cycles }: HrsamConfig['encoder']): void => {
  scope.add('ssm_proj_bias', [c]);
  scope.add('As_log', [c, stateDim]);
  scope.add('Ds', [c]);
  scope.add('gamma', [c, cycles, 1]);
  scope.norm('in_norm', c);
  scope.affine('in_proj.0', [2 * c, c]);
  scope.affine('ssm_proj', [c + 2 * stateDim, c]);
  scope.norm('out_norm', c);
  scope.affine('out_proj', [c, c]);
};

const hrsamEncoder = (scope: Scope, config: HrsamConfig['encoder']): void => {
  const { embedDim: c, patchSize, outDim, stageEnds } = config;
  const hidden = Math.floor(c * config.mlpRatio);
  const scales = 1 + config.downsampleSizes.length;
  scope.add('pos_embed', [1, 1 + config.posGrid ** 2, c]);
  scope.affine('patch_embed.proj', [c, config.inDim, patchSize, patchSize]);
  scope.add('rope.freqs', [c / config.heads / 4], true);
  for (let i = 0; i < config.depth; i++) {
    const block = scope.at('blocks').at(i);
    block.norm('norm1', c);
    block.add('attn.padding', [1, c]);
    block.affine('attn.qkv', [3 * c, c]);
    block.affine('attn.proj', [c, c]);
    block.norm('norm2', c);
    block.affine('mlp.fc1', [hidden, c]);
    block.affine('mlp.fc2', [c, hidden]);
  }
  const scans = scales > 1 ? ['ss_mamba_blocks', 'ms_mamba_blocks'] : ['mamba_blocks'];
  for (const name of config.cycles > 0 ? scans : []) {
    for (const stage of stageEnds.keys()) cycleScan(scope.at(name).at(stage), config);
  }
  if (scales > 1) for (const stage of stageEnds.keys()) scope.at('multi_scale_fusion').at(stage).norm(0, c);
  for (const stage of stageEnds.keys()) {
    const lateral = scope.at('lateral_convs').at(stage);
    lateral.affine(0, [outDim, scales * c], false);
    lateral.norm(1, outDim);
  }
  scope.affine('out_conv.0', [outDim, 1, 3, 3], false);
  scope.norm('out_conv.2', outDim);
};

const samEncoder = (scope: Scope, config: SamConfig['encoder']): void => {
  const { embedDim: c, patchSize, outChans, qkvBias, windowSize } = config;
  const hidden = Math.floor(c * config.mlpRatio);
  const grid = config.imgSize / patchSize;
  if (config.useAbsPos) scope.add('pos_embed', [1, grid, grid, c]);
  scope.affine('patch_embed.proj', [c, config.inChans, patchSize, patchSize]);
  for (let i = 0; i < config.depth; i++) {
    const block = scope.at('blocks').at(i);
    const windowed = windowSize > 0 && !config.globalBlocks.includes(i);
    const rows = 2 * (windowed ? windowSize : grid) - 1;
    const [h, w] = config.relPosRows?.[windowed ? 'windowed' : 'global'] ?? [rows, rows];
    block.norm('norm1', c);
    if (config.useRelPos) {
      block.add('attn.rel_pos_h', [h, c / config.heads]);
      block.add('attn.rel_pos_w', [w, c / config.heads]);
    }
    block.affine('attn.qkv', [3 * c, c], qkvBias);
    block.affine('attn.proj', [c, c]);
    block.norm('norm2', c);
    block.affine('mlp.lin1', [hidden, c]);
    block.affine('mlp.lin2', [c, hidden]);
  }
  scope.affine('neck.0', [outChans, c, 1, 1], false);
  scope.norm('neck.1', outChans);
  scope.affine('neck.2', [outChans, outChans, 3, 3], false);
  scope.norm('neck.3', outChans);
};

const promptEncoder = (
  scope: Scope,
  { embedDim, maskInDim }: PromptConfig,
  family: ModelConfig['family'],
): void => {
  const [code, points] =
    family === 'sam' ? ['pe_layer', 'point_embeddings'] : ['pos_embed_layer', 'point_embeds'];
  scope.add(`${code}.positional_encoding_gaussian_matrix`, [2, embedDim / 2]);
  for (let i = 0; i < 4; i++) scope.add(`${points}.${i}.weight`, [1, embedDim]);
  scope.add('not_a_point_embed.weight', [1, embedDim]);
  const mask = scope.at('mask_downscaling');
  mask.affine(0, [maskInDim / 4, 1, 2, 2]);
  mask.norm(1, maskInDim / 4);
  mask.affine(3, [maskInDim, maskInDim / 4, 2, 2]);
  mask.norm(4, maskInDim);
  mask.affine(6, [embedDim, maskInDim, 1, 1]);
  scope.add('no_mask_embed.weight', [1, embedDim]);
};

const attention = (scope: Scope, dim: number, inner: number): void => {
  for (const name of ['q_proj', 'k_proj', 'v_proj']) scope.affine(name, [inner, dim]);
  scope.affine('out_proj', [dim, inner]);
};

const perceptron = (scope: Scope, widths: number[]): void => {
  for (let i = 0; i + 1 < widths.length; i++) scope.affine(`layers.${i}`, [widths[i + 1]!, widths[i]!]);
};

const maskDecoder = (scope: Scope, config: DecoderConfig, family: ModelConfig['family']): void => {
  const { dim, iouHiddenDim } = config;
  const inner = dim / config.downsampleRate;
  const masks = config.multimaskOutputs + 1;
  const transformer = scope.at('transformer');
  for (let i = 0; i < config.depth; i++) {
    const layer = transformer.at('layers').at(i);
    attention(layer.at('self_attn'), dim, dim);
    layer.norm('norm1', dim);
    attention(layer.at('cross_attn_token_to_image'), dim, inner);
    layer.norm('norm2', dim);
    layer.affine('mlp.lin1', [config.mlpDim, dim]);
    layer.affine('mlp.lin2', [dim, config.mlpDim]);
    layer.norm('norm3', dim);
    // the two families list these in another order
    if (family === 'sam') layer.norm('norm4', dim);
    attention(layer.at('cross_attn_image_to_token'), dim, inner);
    if (family === 'hrsam') layer.norm('norm4', dim);
  }
  attention(transformer.at('final_attn_token_to_image'), dim, inner);
  transformer.norm('norm_final_attn', dim);
  scope.add('iou_token.weight', [1, dim]);
  scope.add('mask_tokens.weight', [masks, dim]);
  const upscaling = scope.at('output_upscaling');
  upscaling.add('0.weight', [dim, dim / 4, 2, 2]);
  upscaling.add('0.bias', [dim / 4]);
  upscaling.norm(1, dim / 4);
  upscaling.add('3.weight', [dim / 4, dim / 8, 2, 2]);
  upscaling.add('3.bias', [dim / 8]);
  for (let i = 0; i < masks; i++) {
    perceptron(scope.at('output_hypernetworks_mlps').at(i), [dim, dim, dim, dim / 8]);
  }
  const hidden = Array.from({ length: config.iouDepth - 1 }, () => iouHiddenDim);
  perceptron(scope.at('iou_prediction_head'), [dim, ...hidden, masks]);
};

/** Every tensor of a checkpoint of this configuration, with its official name, in the order of the published code. */
export const expectedTensors = (
  config: ModelConfig,
  parts: readonly ModelPart[] = MODEL_PARTS,
): ExpectedTensor[] => {
  const out: ExpectedTensor[] = [];
  const root = (name: string): Scope => new Scope(out, `${name}.`);
  const { family } = config;
  if (parts.includes('encoder')) {
    if (family === 'hrsam') hrsamEncoder(root('backbone'), config.encoder);
    else samEncoder(root('image_encoder'), config.encoder);
  }
  if (parts.includes('prompt'))
    promptEncoder(root(family === 'sam' ? 'prompt_encoder' : 'neck'), config.prompt, family);
  if (parts.includes('decoder'))
    maskDecoder(root(family === 'sam' ? 'mask_decoder' : 'decode_head'), config.decoder, family);
  return out;
};

export interface CheckOptions {
  /** Which parts the tensors are for; all by default. */
  parts?: readonly ModelPart[];
  /** What the file has in place of a tensor, by name (`Checkpoint.skipped`), to explain why one is missing. */
  skipped?: ReadonlyMap<string, string>;
  /** What errors name. */
  where?: string;
}

/**
 * Compares tensors (by the model's names) with a configuration.
 * @returns the names of tensors that the configuration does not know
 * @throws HrsamError ERR_CONFIG that lists up to 8 each of missing tensors, of those of another shape, of those of no type to compute with
 */
export const checkTensors = (
  config: ModelConfig,
  tensors: ReadonlyMap<string, { readonly shape: readonly number[]; readonly dtype?: FileDType }>,
  { parts, skipped, where = 'weights' }: CheckOptions = {},
): { unexpected: string[] } => {
  const missing: string[] = [];
  const misshapen: string[] = [];
  const mistyped: string[] = [];
  const known = new Set<string>();
  for (const { name, shape, optional } of expectedTensors(config, parts)) {
    const internal = toInternalName(name);
    known.add(internal);
    const tensor = tensors.get(internal);
    const instead = skipped?.get(internal);
    if (!tensor && !optional) missing.push(instead ? `${name} (${instead})` : name);
    else if (tensor && tensor.shape.join() !== shape.join()) {
      misshapen.push(`${name} is [${tensor.shape}], not [${shape}]`);
    } else if (tensor?.dtype && !isWeightType(tensor.dtype)) mistyped.push(`${name} is ${tensor.dtype}`);
  }
  const problems = [
    ...(missing.length ? [`${missing.length} missing: ${firstOf(missing)}`] : []),
    ...(misshapen.length ? [`${misshapen.length} of another shape: ${firstOf(misshapen)}`] : []),
    ...(mistyped.length ? [`${mistyped.length} not F32, F16, BF16 or F64: ${firstOf(mistyped)}`] : []),
  ];
  if (problems.length) {
    throw new HrsamError('ERR_CONFIG', `the tensors do not fit the configuration: ${problems.join('; ')}`, {
      where,
    });
  }
  return { unexpected: [...tensors.keys()].filter((name) => !known.has(name)) };
};
