import { z } from 'zod';
import { HrsamError } from '../errors.js';
import { parse } from '../issues.js';
import { MAX_REFINEMENTS } from './limits.js';

/**
 * What a checkpoint's tensors alone do not say: the settings a model is built from. Every field is present; defaults are
 * filled in where a configuration is made (`configFromAuthors`, `inferConfig`, presets).
 */

/** How a block attends: the paper's plain and shifted (padded) windows, Swin's cyclic shift, or all tokens of a scale. */
export const ATTENTION_KINDS = ['plain', 'shifted', 'swin', 'global'] as const;

// The bounds are far above any real model; they keep a hostile file from asking for endless work.
const width = z.number().int().min(1).max(65536);
const count = z.number().int().min(1).max(256);
const side = z.number().int().min(1).max(65536);
const sizePair = z.tuple([side, side]);
/** Base of the rotary embedding's frequencies in every model published. */
export const ROPE_THETA = 10000;
const ratio = z.number().positive().max(64);
/** Models see RGB, or BGR. */
export const COLOUR_CHANNELS = 3;
const colours = z.literal(COLOUR_CHANNELS);

const promptSchema = z.strictObject({
  embedDim: width.multipleOf(2),
  /** [h, w] of the grid that position codes are computed on. */
  imageEmbedSize: sizePair,
  /** [h, w] in pixels of the input whose grid that is: prompts are in pixels of the input. */
  inputImageSize: sizePair,
  /** Channels before the last convolution of the mask prompt. */
  maskInDim: width.multipleOf(4),
  /** HRSAM: position codes always come from `imageEmbedSize` and are resized. SAM: computed on the grid in use. */
  resizePositions: z.boolean(),
});

const decoderSchema = z
  .strictObject({
    dim: width.multipleOf(8),
    /** Two-way layers. */
    depth: count,
    mlpDim: width,
    heads: count,
    /** Masks besides the single one: 3 gives 4 mask tokens. */
    multimaskOutputs: z.number().int().min(0).max(255),
    iouDepth: count,
    iouHiddenDim: width,
    /** The cross attentions work in `dim / downsampleRate`. */
    downsampleRate: count,
    /**
     * How often the answer to a prompt without a mask goes back to the decoder as the same prompt's mask before it is
     * given. Not there: never, as SAM and HRSAM are published.
     */
    refinements: z.number().int().min(1).max(MAX_REFINEMENTS).optional(),
    /**
     * Whether a picture that is encoded larger than the model's own size is encoded at that as well: an answer is made
     * there first and then, with it as the prompt's mask, at full size. Not there: no, as HRSAM is published.
     */
    coarseToFine: z.literal(true).optional(),
    /**
     * Connected regions of an answer without a click on the object stay from this share of the largest region with one. Not
     * there: all stay, as SAM and HRSAM are published.
     */
    minRegion: z.number().positive().max(1).optional(),
  })
  .refine((d) => d.dim % (d.heads * d.downsampleRate) === 0, {
    error: 'dim must be a multiple of heads × downsampleRate',
    path: ['heads'],
  });

const imageSchema = z.strictObject({
  /** Per plane as the network takes them, 0 … 255: with `bgr` the first is blue's, as the authors' loader leaves RGB's means. */
  mean: z.array(z.number()).length(3),
  std: z.array(z.number().positive()).length(3),
  /** Order of the channels that the network was trained on. */
  channelOrder: z.enum(['rgb', 'bgr']),
  /** HRSAM resizes bilinearly, SAM with antialiasing as Pillow does. */
  resize: z.enum(['bilinear', 'antialias']),
  /** Longest side in pixels that pictures are brought to unless asked otherwise. */
  size: side,
});

const hrsamEncoderSchema = z
  .strictObject({
    embedDim: width,
    depth: count,
    heads: count,
    /** Tokens per side of a window. */
    windowSize: z.number().int().min(1).max(128),
    /** States per channel of the cycle scan (N). */
    stateDim: z.number().int().min(1).max(256),
    /** Readings of the cycle scan (R; the authors' `extend_ratio`). 0: without cycle-scan blocks, windows alone. */
    cycles: z.number().int().min(0).max(256),
    patchSize: z.number().int().min(1).max(256),
    inDim: colours,
    /** Side of the position table (`img_size / patch_size` of pre-training). */
    posGrid: z.number().int().min(1).max(4096),
    mlpRatio: ratio,
    /** Index of each stage's last block. */
    stageEnds: z.array(z.number().int().min(0)).min(1),
    /** Channels of the embedding. */
    outDim: width,
    /** [h, w] in pixels of the resized copies of the image: none in HRSAM. */
    downsampleSizes: z.array(sizePair).max(15),
    /** One per block. */
    attention: z.array(z.enum(ATTENTION_KINDS)),
    /** Rotary embedding; positions are multiplied by `scale` (pre-training over fine-tuning window). */
    rope: z.strictObject({ theta: z.number().positive(), scale: z.number().positive() }),
  })
  .refine((e) => e.embedDim % (4 * e.heads) === 0, {
    error: 'embedDim must be a multiple of 4 × heads',
    path: ['heads'],
  })
  .refine((e) => e.attention.length === e.depth, {
    error: 'one attention kind per block is needed',
    path: ['attention'],
  })
  .refine((e) => e.stageEnds.every((end, i) => end > (e.stageEnds[i - 1] ?? -1) && end < e.depth), {
    error: 'must be increasing block indices below depth',
    path: ['stageEnds'],
  })
  .refine((e) => e.downsampleSizes.flat().every((pixels) => pixels % e.patchSize === 0), {
    error: 'must be multiples of patchSize',
    path: ['downsampleSizes'],
  });

const samEncoderSchema = z
  .strictObject({
    /** Side in pixels of the input the model was built for. */
    imgSize: side,
    patchSize: z.number().int().min(1).max(256),
    inChans: colours,
    embedDim: width,
    depth: count,
    heads: count,
    mlpRatio: ratio,
    /** Channels of the embedding. */
    outChans: width,
    qkvBias: z.boolean(),
    useAbsPos: z.boolean(),
    useRelPos: z.boolean(),
    /** Tokens per side of a window; 0: every block is global. */
    windowSize: z.number().int().min(0).max(1024),
    globalBlocks: z.array(z.number().int().min(0)),
    normEps: z.number().positive().max(1),
    /** [height, width] rows of the relative position tables where they are not those that the sizes imply. */
    relPosRows: z.strictObject({ windowed: sizePair, global: sizePair }).optional(),
  })
  .refine((e) => e.embedDim % e.heads === 0, {
    error: 'embedDim must be a multiple of heads',
    path: ['heads'],
  })
  .refine((e) => e.imgSize % e.patchSize === 0, {
    error: 'must be a multiple of patchSize',
    path: ['imgSize'],
  })
  .refine((e) => e.globalBlocks.every((block) => block < e.depth), {
    error: 'must be block indices below depth',
    path: ['globalBlocks'],
  });

const hrsamSchema = z
  .strictObject({
    family: z.literal('hrsam'),
    variant: z.enum(['hrsam', 'hrsam++']),
    encoder: hrsamEncoderSchema,
    prompt: promptSchema,
    decoder: decoderSchema,
    image: imageSchema,
  })
  .refine((c) => (c.variant === 'hrsam++') === c.encoder.downsampleSizes.length > 0, {
    error: 'HRSAM++ needs downsampleSizes, HRSAM has none',
    path: ['encoder', 'downsampleSizes'],
  })
  .refine((c) => c.encoder.outDim === c.prompt.embedDim && c.encoder.outDim === c.decoder.dim, {
    error: 'encoder.outDim, prompt.embedDim and decoder.dim must be equal',
    path: ['encoder', 'outDim'],
  });

const samSchema = z
  .strictObject({
    family: z.literal('sam'),
    encoder: samEncoderSchema,
    prompt: promptSchema,
    decoder: decoderSchema,
    image: imageSchema,
  })
  .refine((c) => c.encoder.outChans === c.prompt.embedDim && c.encoder.outChans === c.decoder.dim, {
    error: 'encoder.outChans, prompt.embedDim and decoder.dim must be equal',
    path: ['encoder', 'outChans'],
  });

const modelSchema = z
  .discriminatedUnion('family', [hrsamSchema, samSchema])
  .refine((c) => c.image.size % c.encoder.patchSize === 0, {
    error: 'must be a multiple of encoder.patchSize',
    path: ['image', 'size'],
  });

export type AttentionKind = (typeof ATTENTION_KINDS)[number];
export type PromptConfig = z.infer<typeof promptSchema>;
export type DecoderConfig = z.infer<typeof decoderSchema>;
export type ImageConfig = z.infer<typeof imageSchema>;
/** Settings of an HRSAM or HRSAM++, by our names. */
export type HrsamConfig = z.infer<typeof hrsamSchema>;
/** Settings of a Segment Anything, by our names. */
export type SamConfig = z.infer<typeof samSchema>;
/** A model's settings; `family` tells which. */
export type ModelConfig = HrsamConfig | SamConfig;

/** Metadata key of safetensors files under which `configToMetadata` stores a configuration. */
export const CONFIG_KEY = 'hrsam.config';

/**
 * Checks a configuration of unknown origin.
 * @param where what errors name
 * @throws HrsamError ERR_CONFIG that lists the fields and what is wrong with them
 */
export const validateConfig = (config: unknown, where = 'model configuration'): ModelConfig =>
  parse(modelSchema, config, 'ERR_CONFIG', { where });

/** A configuration as metadata of a safetensors file. */
export const configToMetadata = (config: ModelConfig): [string, string] => [
  CONFIG_KEY,
  JSON.stringify(config),
];

/**
 * The configuration that a file carries, if any.
 * @throws HrsamError ERR_CONFIG when it carries one that is not valid
 */
export const configFromMetadata = (
  metadata: ReadonlyMap<string, string>,
  where?: string,
): ModelConfig | undefined => {
  const text = metadata.get(CONFIG_KEY);
  if (text === undefined) return undefined;
  const at = where ? `${where}: ${CONFIG_KEY}` : CONFIG_KEY;
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (cause) {
    throw new HrsamError('ERR_CONFIG', 'is no JSON', { where: at, cause });
  }
  return validateConfig(json, at);
};

/** `encoder.depth` and the like, to their values as JSON. */
export const settingsOf = (config: ModelConfig): Map<string, string> =>
  new Map(
    Object.entries(config).flatMap(([part, value]) =>
      typeof value === 'object'
        ? Object.entries(value).map(([key, setting]) => [`${part}.${key}`, JSON.stringify(setting)] as const)
        : [[part, JSON.stringify(value)] as const],
    ),
  );

/** Names of the settings in which two models differ. */
export const differingSettings = (one: ModelConfig, other: ModelConfig): string[] => {
  const [settings, others] = [settingsOf(one), settingsOf(other)];
  return [...new Set([...settings.keys(), ...others.keys()])].filter(
    (key) => settings.get(key) !== others.get(key),
  );
};

/** Blocks take turns: plain windows for even indices, shifted ones for odd. */
export const alternatingAttention = (depth: number): AttentionKind[] =>
  Array.from({ length: depth }, (_, i) => (i % 2 === 0 ? 'plain' : 'shifted'));

/** ImageNet statistics in RGB order, which SAM and HRSAM share. */
export const IMAGE_MEAN = [123.675, 116.28, 103.53];
export const IMAGE_STD = [58.395, 57.12, 57.375];
