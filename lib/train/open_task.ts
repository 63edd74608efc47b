import { HrsamError } from '../errors.js';
import { ClickTask } from './click_task.js';
import { DistillTask } from './distill_task.js';
import type { FixedTensors } from './parameters.js';
import type { DistillRecipe, FinetuneRecipe, Recipe } from './recipe.js';
import type { Replica } from './replica.js';
import { openSamples, setLine } from './sets.js';
import type { Task } from './task.js';
import { TaughtPictures } from './taught_pictures.js';
import { type Teacher, taughtRecipe } from './teacher.js';

export interface TaskSources {
  /** Folders of data sets. */
  data: readonly string[];
  /** Of a distillation: embeddings of each of these folders. */
  teacher?: Teacher;
  /** Called once for each entry that cannot be used. */
  onCorrupt?: (error: HrsamError) => void;
  /** Something the user should know. */
  onNote?: (note: string) => void;
}

/** Decoded pictures kept in memory. */
const CACHE_BYTES = 2 ** 31;

/** Where a task runs. */
export interface Place {
  replica: Replica;
  /** What is not trained, on the replica's device. */
  constants: FixedTensors;
}

export interface OpenedTasks {
  /** One for each place. */
  tasks: Task[];
  /** What they learn from, a line each. */
  sources: string[];
}

/**
 * One task for each place. They share their data.
 * @throws HrsamError ERR_FILE, ERR_WEIGHTS, ERR_CONFIG, ERR_ARGUMENT for data that are not there or not what the recipe is about
 */
export function openTasks(
  recipe: Recipe,
  places: readonly [Place, ...Place[]],
  sources: TaskSources,
): Promise<OpenedTasks> {
  return recipe.task === 'finetune'
    ? openClicks(recipe, places, sources)
    : openDistillation(recipe, places, sources);
}

async function openClicks(
  recipe: FinetuneRecipe,
  places: readonly Place[],
  { data, onCorrupt, onNote }: TaskSources,
): Promise<OpenedTasks> {
  const { clicks, focal, model, multiScale } = recipe;
  const { objects } = clicks;
  const given = { cacheBytes: CACHE_BYTES, objects, onCorrupt, onNote };
  const { sample, sets } = await openSamples(recipe, data, given);
  const { max, steps, ...rest } = clicks;
  const options = { ...rest, ...shared(recipe), multiScale, focal, clicks: max, steps };
  const tasks = places.map(
    ({ replica, constants }) => new ClickTask(replica, model, constants, sample, options),
  );
  return { tasks, sources: sets };
}

async function openDistillation(
  recipe: DistillRecipe,
  places: readonly [Place, ...Place[]],
  { data, teacher, onCorrupt, onNote }: TaskSources,
): Promise<OpenedTasks> {
  if (teacher?.stores.length !== data.length || data.length === 0)
    throw new HrsamError('ERR_ARGUMENT', 'folders of embeddings', {
      expected: 'one for each folder of pictures, of which there is at least one',
      actual: `${teacher?.stores.length ?? 0} for ${data.length}`,
    });
  const { model, size, seed } = taughtRecipe(recipe, teacher);
  const roots = data.map((root, i) => [root, teacher.stores[i]!] as const);
  const { device } = places[0].replica;
  const { image } = model;
  const pictures = await TaughtPictures.open(device, roots, { size, seed, image, onCorrupt, onNote });
  const sample = (index: number) => pictures.sample(index);
  const tasks = places.map(
    ({ replica, constants }) => new DistillTask(replica, model, constants, sample, shared(recipe)),
  );
  const sets = data.map((root, i) => setLine(root, pictures.counts[i]!, 'pictures'));
  return { tasks, sources: [`teacher ${teacher.stores[0]!.origin.weights}`, ...sets] };
}

const shared = ({ size, batch, seed, dtype: compute, dropPath, recompute }: Recipe) => ({
  size,
  batch,
  seed,
  compute,
  dropPath,
  recompute,
});
