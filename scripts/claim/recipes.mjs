// The experiment's settings: recipes/claim has one recipe for all variants, and what tells the variants' encoders apart.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The recipe and the variants, the teacher first. */
export function readExperiment(root) {
  const read = (name) => JSON.parse(readFileSync(join(root, 'recipes', 'claim', name), 'utf8'));
  return { recipe: read('recipe.json'), variants: read('variants.json') };
}

/**
 * The recipe in which the distillations take so many steps, and teacher and fine-tuning in proportion. Without `steps`: as
 * it is.
 */
export function scaled(recipe, steps) {
  if (steps === undefined) return recipe;
  const factor = steps / recipe.distill.steps;
  const stage = (each) => ({
    ...each,
    steps: each.steps === 0 ? 0 : Math.max(1, Math.round(each.steps * factor)),
    warmup: Math.round(each.warmup * factor),
  });
  return {
    ...recipe,
    teach: stage(recipe.teach),
    distill: stage(recipe.distill),
    finetune: stage(recipe.finetune),
  };
}

/**
 * What `hrsam train` is given for a variant.
 * @param stage `teach` and `finetune` by clicks, `distill` by the teacher's embeddings
 */
export function stageRecipe(recipe, variant, stage) {
  const { model, size, common, clicks } = recipe;
  return {
    task: stage === 'distill' ? 'distill' : 'finetune',
    model: { ...model, backbone: { ...model.backbone, ...variant.backbone } },
    size,
    ...common,
    ...(stage !== 'distill' && clicks),
    ...recipe[stage],
  };
}
