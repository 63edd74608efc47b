import { z } from 'zod';
import { HrsamError } from '../errors.js';
import { describeIssues } from '../issues.js';
import { configFromAuthors } from '../weights/authors.js';
import type { ModelConfig } from '../weights/config.js';
import { isPreset, presetConfig } from '../weights/presets.js';
import { OPTIMIZERS } from './optimizer.js';
import { augmentation } from './samples/augment.js';

const share = z.number().min(0).max(1);
const positive = z.number().positive();
const count = z.number().int().min(1);
const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);
const range = (bound: z.ZodNumber) =>
  z.tuple([bound, bound]).refine(([least, most]) => least <= most, { error: 'the smaller one first' });

const augmentSchema = z.strictObject({
  crop: share.default(augmentation.crop),
  cropKeep: share.default(augmentation.cropKeep),
  cropArea: range(share).default([...augmentation.cropArea]),
  flip: share.default(augmentation.flip),
  turn: share.default(augmentation.turn),
  stretch: share.default(augmentation.stretch),
  colour: share.default(augmentation.colour),
  jitter: z
    .strictObject({
      brightness: share,
      contrast: share,
      saturation: share,
      hue: share,
      tint: share.default(augmentation.jitter.tint),
    })
    .default(augmentation.jitter),
  grey: share.default(augmentation.grey),
  blur: share.default(augmentation.blur),
  noise: share.default(augmentation.noise),
  paste: share.default(augmentation.paste),
});

const side = z.number().int().min(32).max(8192).multipleOf(16);

const common = {
  /** A preset's name, or a configuration in the authors' keywords. */
  model: z.unknown(),
  /** Side of the samples in pixels. */
  size: side,
  /** Samples in a micro-batch, and micro-batches in a step. */
  batch: count.max(4096),
  accumulate: count.max(4096).default(1),
  /** Optimiser steps in all. */
  steps: count,
  /** What matrix products are made of; parameters, gradients and sums are f32 always. */
  dtype: z.enum(['f32', 'bf16']).default('f32'),
  /** muon: for the matrices of linear layers, adamw for the rest. */
  optimizer: z.enum(OPTIMIZERS).default('adamw'),
  learningRate: positive.default(1e-4),
  /** Steps of the linear warm-up; afterwards it falls linearly to 0. */
  warmup: z.number().int().min(0).default(1500),
  weightDecay: z.number().min(0).default(0.05),
  /** Learning-rate factor per block from the last one down. */
  layerDecay: share.default(0.9),
  /** Largest L2 norm of a gradient; 0: any. */
  clip: z.number().min(0).default(0),
  /** Share of the old value in the moving average of the parameters, which is what is written as the model. */
  average: share.default(0.999),
  /** How likely a residual branch of the encoder's last block is left out for a sample; earlier ones less. */
  dropPath: z.number().min(0).lt(1).default(0),
  /** Computes the blocks' activations again in the backward pass instead of keeping them: less memory, a third more work. */
  recompute: z.boolean().default(false),
  seed: z.number().int().min(0).default(0),
};

const data = {
  /** Multi-scale training: other sides than `size`, and the share of the micro-batches that have each of them. */
  multiScale: z
    .record(
      z.string().refine((key) => side.safeParse(Number(key)).success, {
        error: 'no side: 32 to 8192, a multiple of 16',
      }),
      share,
    )
    .default({})
    .refine((shares) => sum(Object.values(shares)) < 1 + 1e-9, { error: 'shares of more than 1 in all' }),
  /** How often sets are drawn from, by the name of their folder; default: by the root of their number of objects. */
  sets: z.record(z.string(), z.number().min(0)).optional(),
  /** Synthetic scenes: how often relative to all sets together, and their longest sides in pixels. */
  scenes: z
    .strictObject({ share, sides: range(z.number().int().min(16).max(8192)).default([256, 512]) })
    .prefault({ share: 0.2 }),
  /** Mosaics of the sets' pictures, of those of 256 pixels or more: their share of all samples, and tiles along each side. */
  mosaic: z.strictObject({ share, tiles: range(count.max(16)).default([2, 4]) }).prefault({ share: 0 }),
  augment: augmentSchema.prefault({}),
};

const finetuneSchema = z.strictObject({
  task: z.literal('finetune'),
  ...common,
  ...data,
  clicks: z
    .strictObject({
      /** Objects of a sample that are prompted for. */
      objects: count.max(64).default(1),
      /** Most prompts for an object: HRSAM answers up to 20 before the one that is learned from. */
      most: count.max(64).default(21),
      /** Prompts for an object that are learned from: the last one, as HRSAM is trained, or the first and some others. */
      steps: count.max(16).default(1),
      /** Probability that one more click follows. */
      goOn: share.default(0.6),
      /** Probability that a step brings no click: the answer goes back with the prompt it answers. */
      refine: share.default(0),
      /** Share of the samples that begin with a box. */
      box: share.default(0.1),
      /** Half of the users click anywhere deeper than the deepest pixel's distance / innerK. */
      innerK: z.number().min(1).default(3),
    })
    .prefault({})
    .refine(({ steps, most }) => steps <= most, { error: 'no more than most', path: ['steps'] }),
  /** The normalised focal loss, which the dice loss is added to; gamma 0 makes it half the cross-entropy. */
  focal: z.strictObject({ alpha: share.default(0.5), gamma: z.number().min(0).default(2) }).prefault({}),
});

const distillSchema = z.strictObject({ task: z.literal('distill'), ...common });

const recipeSchema = z.discriminatedUnion('task', [finetuneSchema, distillSchema]);

export type FinetuneRecipe = z.infer<typeof finetuneSchema> & { model: ModelConfig };
export type DistillRecipe = z.infer<typeof distillSchema> & { model: ModelConfig };
export type Recipe = FinetuneRecipe | DistillRecipe;

/**
 * Checks a recipe: JSON of unknown origin, defaults filled in, the model resolved.
 * @throws HrsamError ERR_CONFIG that lists the fields and what is wrong with them
 */
export function readRecipe(json: unknown, where = 'recipe'): Recipe {
  const result = recipeSchema.safeParse(json);
  if (!result.success) throw new HrsamError('ERR_CONFIG', describeIssues(result.error), { where });
  const { model } = result.data;
  const config =
    typeof model === 'string' && isPreset(model)
      ? presetConfig(model)
      : configFromAuthors(model, `${where}: model`);
  return { ...result.data, model: config };
}
