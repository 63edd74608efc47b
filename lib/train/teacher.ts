import { HrsamError } from '../errors.js';
import { EmbeddingStore } from '../predictor/embedding_store.js';
import { validateConfig } from '../weights/config.js';
import type { DistillRecipe } from './recipe.js';

/** A teacher's embeddings, as its students need them. */
export interface Teacher {
  /** One for each folder of pictures. */
  stores: readonly EmbeddingStore[];
  /** Prompt encoder and mask decoder by the model's names. */
  decoder: ReadonlyMap<string, Float32Array>;
}

/**
 * @param folders those that `hrsam embed` filled
 * @throws HrsamError ERR_FILE, ERR_WEIGHTS, ERR_CONFIG for one that is none, ERR_CONFIG for those of several teachers
 */
export async function openTeacher(folders: readonly string[]): Promise<Teacher> {
  const stores = await Promise.all(folders.map((folder) => EmbeddingStore.open(folder)));
  const [first, ...others] = stores;
  if (!first) throw new HrsamError('ERR_ARGUMENT', 'no teacher');
  const other = others.find(
    ({ origin: { weights, size } }) => weights !== first.origin.weights || size !== first.origin.size,
  );
  if (other)
    throw new HrsamError('ERR_CONFIG', 'embeddings of another teacher or size', {
      where: other.folder,
      expected: `those of ${first.folder}`,
    });
  return { stores, decoder: await first.decoder() };
}

/**
 * The recipe for this teacher's student, whose prompt encoder and mask decoder are the teacher's.
 * @throws HrsamError ERR_CONFIG when the student's embedding is of another shape than the teacher's
 */
export function taughtRecipe(
  recipe: DistillRecipe,
  { stores }: Pick<Teacher, 'stores'>,
  where = 'recipe',
): DistillRecipe {
  const [{ config, shape }] = stores as [EmbeddingStore];
  const { prompt, decoder } = config;
  const { encoder } = recipe.model;
  const channels = 'outDim' in encoder ? encoder.outDim : encoder.outChans;
  if (channels !== prompt.embedDim)
    throw new HrsamError(
      'ERR_CONFIG',
      "channels of the student's embedding, which the teacher's decoder reads",
      {
        where,
        expected: `${prompt.embedDim} (model.backbone.final_embed_dim)`,
        actual: channels,
      },
    );
  const model = validateConfig(
    { ...recipe.model, prompt, decoder },
    `${where}: model, with the teacher's decoder`,
  );
  const side = recipe.size / model.encoder.patchSize;
  if (side !== shape[2])
    throw new HrsamError('ERR_CONFIG', 'size', {
      where,
      expected: shape[2] * model.encoder.patchSize,
      actual: recipe.size,
    });
  return { ...recipe, model };
}
