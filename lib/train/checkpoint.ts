import { createHash } from 'node:crypto';
import { HrsamError } from '../errors.js';
import { SafetensorsFile } from '../weights/safetensors.js';
import { writeSafetensors } from '../weights/safetensors_writer.js';
import type { Parameter } from './groups.js';
import { ParameterLayout } from './layout.js';
import { recipeTensors, type Values } from './parameters.js';
import { type Recipe, readRecipe } from './recipe.js';

/** A training between two steps: everything that going on needs. */
export interface SavedTraining {
  recipe: Recipe;
  /** Steps taken. */
  step: number;
  /** What it learns from, a line each; older checkpoints do not say. */
  sources?: readonly string[];
  /** (4, P) */
  state: Float32Array;
  /** Tensors that are not trained. */
  fixed: Values;
}

const KEY = 'hrsam.training';
/** SHA-256 of everything else: a bit that flipped on the disk would otherwise be trained on. */
const DIGEST = 'hrsam.sha256';
const STATE = 'state';

/** Writes a checkpoint, which appears complete or not at all. @throws HrsamError ERR_FILE */
export async function writeCheckpoint(path: string, training: SavedTraining): Promise<void> {
  const { recipe, step, sources, state, fixed } = training;
  const tensors = recipeTensors(recipe);
  const header = JSON.stringify({ step, recipe, sources, parameters: listed(tensors.trained) });
  const contents = new Map([[STATE, state]]);
  for (const { name, shape } of tensors.fixed) contents.set(name, fixed(name, shape));
  const shapes = [stateTensor(tensors.trained), ...tensors.fixed];
  await writeSafetensors(
    path,
    shapes.map(({ name, shape }) => ({ name, dtype: 'F32', shape, data: contents.get(name)! })),
    {
      metadata: [
        [KEY, header],
        [DIGEST, digest(header, contents)],
      ],
    },
  );
}

/** @throws HrsamError ERR_FILE, ERR_WEIGHTS, ERR_CONFIG when there is none, or it is damaged or of another model */
export async function readCheckpoint(path: string): Promise<SavedTraining> {
  await using file = await SafetensorsFile.open(path);
  const text = file.metadata.get(KEY);
  if (text === undefined)
    throw new HrsamError('ERR_WEIGHTS', 'is no checkpoint of a training', { where: path });
  const header = parse(text, path);
  const recipe = readRecipe(header.recipe, path);
  const { trained, fixed } = recipeTensors(recipe);
  const parameters = JSON.stringify(listed(trained));
  if (JSON.stringify(header.parameters) !== parameters) {
    throw new HrsamError('ERR_CONFIG', 'parameters of another model than the recipe’s', { where: path });
  }
  const contents = new Map<string, Float32Array>();
  for (const { name, shape } of [stateTensor(trained), ...fixed]) {
    const stored = file.tensors.get(name);
    const [expected, actual] = [`F32 [${shape}]`, stored ? `${stored.dtype} [${stored.shape}]` : 'nothing'];
    if (actual !== expected) {
      throw new HrsamError('ERR_WEIGHTS', `tensor '${name}'`, { where: path, expected, actual });
    }
    contents.set(name, (await file.read(name)) as Float32Array);
  }
  const written = file.metadata.get(DIGEST);
  if (written !== undefined && written !== digest(text, contents)) {
    throw new HrsamError('ERR_WEIGHTS', 'is damaged: its content is not what was written', { where: path });
  }
  const { step, sources } = header;
  return { recipe, step, sources, state: contents.get(STATE)!, fixed: (name) => contents.get(name)! };
}

const stateTensor = (trained: readonly Parameter[]): Parameter => ({
  name: STATE,
  shape: new ParameterLayout(trained).stateShape,
});

const listed = (parameters: readonly Parameter[]) => parameters.map(({ name, shape }) => [name, shape]);

function digest(header: string, contents: ReadonlyMap<string, Float32Array>): string {
  const hash = createHash('sha256').update(header);
  for (const values of contents.values()) hash.update(values);
  return hash.digest('hex');
}

interface Header {
  step: number;
  sources?: string[];
  recipe: unknown;
  parameters: unknown;
}

function parse(text: string, where: string): Header {
  let header: Partial<Header> | null;
  try {
    header = JSON.parse(text);
  } catch (cause) {
    throw new HrsamError('ERR_CONFIG', `${KEY} is no JSON`, { where, cause });
  }
  const { step, sources } = header ?? {};
  if (sources !== undefined && !Array.isArray(sources))
    throw new HrsamError('ERR_CONFIG', `${KEY}: sources`, { where, expected: 'a list' });
  if (Number.isSafeInteger(step) && step! >= 0) return header as Header;
  throw new HrsamError('ERR_CONFIG', `${KEY}: step`, {
    where,
    expected: 'a whole number from 0',
    actual: step,
  });
}
