import { z } from 'zod';
import { HrsamError } from '../errors.js';
import { parse } from '../issues.js';
import { configFromAuthors, trainingKeywords } from '../weights/authors.js';
import type { ModelConfig } from '../weights/config.js';
import { presetConfig } from '../weights/presets.js';
import { OPTIMIZERS } from './optimizer.js';
import { augmentation, MOST_PASTED, MOST_STRETCHED } from './samples/augment.js';

const share = z.number().min(0).max(1);
const positive = z.number().positive();
const count = z.number().int().min(1);
const sum = (values: readonly number[]) => values.reduce((all, value) => all + value, 0);
const range = (bound: z.ZodNumber) =>
  z.tuple([bound, bound]).refine(([least, most]) => least <= most, { error: 'the smaller one first' });

const augmentSchema = z.strictObject({
  crop: share
    .default(augmentation.crop)
    .describe('Probability of a random part instead of the whole picture'),
  cropKeep: share
    .default(augmentation.cropKeep)
    .describe('Share of the object that is inside such a part, at least'),
  cropArea: range(share)
    .default([...augmentation.cropArea])
    .describe('Share of such a part that is the object, at least and at most'),
  flip: share.default(augmentation.flip).describe('Probability of mirroring, left and right'),
  rotate: share
    .default(augmentation.rotate)
    .describe('Probability of a turn by up to 20 degrees, of what is pasted too'),
  stretch: share
    .default(augmentation.stretch)
    .describe(
      `Probability of a picture made up to ${MOST_STRETCHED} times wider or narrower, of what is pasted too`,
    ),
  colour: share.default(augmentation.colour).describe('Probability of other colours: jitter says how far'),
  jitter: z
    .strictObject({
      brightness: share.describe('Factor of all colours: 1 ± so much'),
      contrast: share.describe('Factor of the distance from middle grey: 1 ± so much'),
      saturation: share.describe('Factor of the distance from grey of the same lightness: 1 ± so much'),
      hue: share.describe('Turn of the hues either way: tangent of half the largest angle'),
      tint: share
        .default(augmentation.jitter.tint)
        .describe('Factors of red, green and blue, each on its own: 1 ± so much'),
    })
    .default(augmentation.jitter)
    .describe('How far colours change, at most'),
  grey: share.default(augmentation.grey).describe('Probability of a picture without colour'),
  blur: share.default(augmentation.blur).describe('Probability of a blur by a pixel'),
  noise: share
    .default(augmentation.noise)
    .describe('Probability of grain in single pixels, of random strength'),
  paste: share
    .default(augmentation.paste)
    .describe(
      `Probability of an object of another picture laid over this one, and then of another over both, up to ${MOST_PASTED}`,
    ),
});

const side = z.number().int().min(32).max(8192).multipleOf(16);

/** What HRSAM's two stages do not have in common. */
const published = (layerDecay: number, dropPath: number) => ({
  layerDecay: share.default(layerDecay).describe('Learning-rate factor per block from the last one down'),
  dropPath: z
    .number()
    .min(0)
    .lt(1)
    .default(dropPath)
    .describe(
      "How likely a residual branch of the encoder's last block is left out for a sample; earlier ones less",
    ),
});

const common = {
  model: z.unknown().describe("A preset's name, or a configuration in the authors' keywords"),
  size: side.describe('Side of the samples in pixels'),
  batch: count.max(4096).describe('Samples in a micro-batch'),
  accumulate: count.max(4096).default(1).describe('Micro-batches in a step'),
  steps: count.describe('Optimiser steps in all'),
  dtype: z
    .enum(['f32', 'bf16'])
    .default('f32')
    .describe('What matrix products are made of; parameters, gradients and sums are f32 always'),
  optimizer: z
    .enum(OPTIMIZERS)
    .default('adamw')
    .describe('muon: for the matrices of linear layers, in products of dtype; adamw for the rest'),
  learningRate: positive.default(1e-4).describe('The largest, at the end of the warm-up'),
  warmup: z
    .number()
    .int()
    .min(0)
    .default(1500)
    .describe('Steps of the linear warm-up; afterwards it falls linearly to 0'),
  weightDecay: z.number().min(0).default(0.05).describe('Of matrices; norms and biases do not decay'),
  clip: z.number().min(0).default(0).describe('Largest L2 norm of a gradient; 0: any'),
  emaDecay: share
    .default(0.999)
    .describe(
      'Share of the old value in the moving average of the parameters, which is what is written as the model',
    ),
  recompute: z
    .boolean()
    .default(false)
    .describe(
      "Computes the blocks' activations again in the backward pass instead of keeping them: less memory, a third more work",
    ),
  seed: z.number().int().min(0).default(0).describe('Of everything that is drawn'),
};

const data = {
  multiScale: z
    .record(
      z.string().refine((key) => side.safeParse(Number(key)).success, {
        error: 'no side: 32 to 8192, a multiple of 16',
      }),
      share,
    )
    .default({})
    .refine((shares) => sum(Object.values(shares)) < 1 + 1e-9, { error: 'shares of more than 1 in all' })
    .describe(
      'Multi-scale training: other sides than `size`, and the share of the micro-batches that have each of them',
    ),
  sets: z
    .record(z.string(), z.number().min(0))
    .optional()
    .describe(
      'How often sets are drawn from, by the name of their folder: those that are not named, never; default: by the root of their number of objects',
    ),
  scenes: z
    .strictObject({
      share: share.describe('How often, relative to all sets together'),
      sides: range(z.number().int().min(16).max(8192))
        .default([256, 512])
        .describe('Longest sides in pixels, from and to'),
    })
    .prefault({ share: 0.2 })
    .describe('Synthetic scenes'),
  mosaic: z
    .strictObject({
      share: share.describe('Of all samples'),
      tiles: range(count.max(16)).default([2, 4]).describe('Tiles along each side, from and to'),
    })
    .prefault({ share: 0 })
    .describe("Mosaics of parts of the sets' pictures, 256 x 256 pixels each; smaller pictures are in none"),
  augment: augmentSchema.prefault({}).describe('How samples are varied'),
};

const finetuneSchema = z.strictObject({
  task: z.literal('finetune').describe('Encoder and decoder, by simulated clicks'),
  ...common,
  ...published(1, 0),
  ...data,
  clicks: z
    .strictObject({
      objects: count.max(64).default(1).describe('Objects of a sample that are prompted for'),
      max: count
        .max(64)
        .default(21)
        .describe('Most prompts for an object: HRSAM answers up to 20 before the one that is learned from'),
      steps: count
        .max(16)
        .default(1)
        .describe(
          'Prompts for an object that are learned from: the last one, as HRSAM is trained, or the first and some others',
        ),
      continueProbability: share.default(0.6).describe('Probability that one more click follows'),
      refine: share
        .default(0)
        .describe('Probability that a step brings no click: the answer goes back with the prompt it answers'),
      box: share.default(0.1).describe('Share of the samples that begin with a box'),
      innerK: z
        .number()
        .min(1)
        .default(3)
        .describe("Half of the users click anywhere deeper than the deepest pixel's distance / innerK"),
    })
    .prefault({})
    .refine(({ steps, max }) => steps <= max, { error: 'no more than max', path: ['steps'] })
    .describe('What the simulated user does'),
  focal: z
    .strictObject({
      alpha: share.default(0.5).describe("Weight of the object's pixels; the others' is 1 - alpha"),
      gamma: z
        .number()
        .min(0)
        .default(2)
        .describe('Pixels count by their error to this power; 0: cross-entropy, halved by alpha 0.5'),
    })
    .prefault({})
    .describe('The normalised focal loss, which the dice loss is added to'),
});

const distillSchema = z.strictObject({
  task: z.literal('distill').describe("The encoder, by a teacher's embeddings"),
  ...common,
  ...published(0.9, 0.2),
});

const recipeSchema = z.discriminatedUnion('task', [finetuneSchema, distillSchema]);

export type FinetuneRecipe = z.infer<typeof finetuneSchema> & { model: ModelConfig };
export type DistillRecipe = z.infer<typeof distillSchema> & { model: ModelConfig };
export type Recipe = FinetuneRecipe | DistillRecipe;

/** What a recipe may hold, as JSON Schema: types, ranges, defaults, meanings. */
export const describeRecipe = () => z.toJSONSchema(recipeSchema, { io: 'input' });

/**
 * Checks a recipe: JSON of unknown origin, defaults filled in, the model resolved.
 * @param onNote called with something the user should know
 * @throws HrsamError ERR_CONFIG that lists the fields and what is wrong with them
 */
export function readRecipe(json: unknown, where = 'recipe', onNote?: (note: string) => void): Recipe {
  const parsed = parse(recipeSchema, json, 'ERR_CONFIG', { where });
  const { model } = parsed;
  const config =
    typeof model === 'string'
      ? presetConfig(model, `${where}: model`)
      : configFromAuthors(model, `${where}: model`);
  const recipe = { ...parsed, model: config };
  checkSides(recipe, where);
  const unused = trainingKeywords(model);
  if (unused.length > 0)
    onNote?.(`model: no effect of ${unused.join(', ')} here; see dropPath, recompute, clicks, focal, --init`);
  return recipe;
}

/** Sides that the model takes. */
function checkSides({ model, size, ...rest }: Recipe, where: string): void {
  const { patchSize } = model.encoder;
  const others = 'multiScale' in rest ? Object.keys(rest.multiScale).map(Number) : [];
  const fields = new Map([['size', size], ...others.map((side) => [`multiScale.${side}`, side] as const)]);
  const refuse = (field: string, expected: string, actual: unknown) => {
    throw new HrsamError('ERR_CONFIG', field, { where, expected, actual });
  };
  for (const [field, side] of fields)
    if (side % patchSize !== 0) refuse(field, `a multiple of the model's patch size, ${patchSize}`, side);
  if (model.family === 'hrsam' || !model.encoder.useAbsPos) return;
  const { imgSize } = model.encoder;
  for (const [field, side] of fields)
    if (side !== imgSize)
      refuse(field, `${imgSize}, the only side that the model's absolute positions are for`, side);
}
