import { appendFile, mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { HrsamError } from '../errors.js';
import { openCheckpoint } from '../weights/checkpoint.js';
import { configToMetadata } from '../weights/config.js';
import { toOfficialName } from '../weights/names.js';
import { writeSafetensors } from '../weights/safetensors_writer.js';
import { renderCurves } from './curves.js';
import type { Parameter } from './groups.js';
import type { ParameterLayout } from './layout.js';
import type { Values } from './parameters.js';
import { type Recipe, readRecipe } from './recipe.js';

/** A line of the log: means over the steps since the one before. */
export interface LogLine {
  step: number;
  loss: number;
  /** Learning rate. */
  rate: number;
  /** Samples per second. */
  speed: number;
  [figure: string]: number;
}

export interface SavedTraining {
  recipe: Recipe;
  /** Steps taken. */
  step: number;
  /** (4, P) */
  state: Float32Array;
  /** Tensors that are not trained. */
  fixed: Values;
}

const CHECKPOINT = 'checkpoint.safetensors';
const KEY = 'hrsam.training';

interface Header {
  step: number;
  recipe: unknown;
  parameters: unknown;
}

/** Where a training keeps its checkpoint, its log, its curves and the model as it is. */
export class RunFolder {
  constructor(readonly path: string) {}

  get checkpoint(): string {
    return join(this.path, CHECKPOINT);
  }

  get model(): string {
    return join(this.path, 'model.safetensors');
  }

  get #log(): string {
    return join(this.path, 'log.jsonl');
  }

  /** @throws HrsamError ERR_FILE */
  async create(): Promise<void> {
    await mkdir(this.path, { recursive: true }).catch((cause) => {
      throw new HrsamError('ERR_FILE', 'cannot be made', { where: this.path, cause });
    });
  }

  /** Everything that going on needs. It appears complete or not at all. */
  async save(
    recipe: Recipe,
    layout: ParameterLayout,
    step: number,
    state: Float32Array,
    fixed: readonly (Parameter & { values: Float32Array })[],
  ): Promise<void> {
    const header: Header = { step, recipe, parameters: listed(layout.parameters) };
    const kept = fixed.map(({ name, shape, values }) => ({
      name,
      dtype: 'F32' as const,
      shape,
      data: values,
    }));
    await writeSafetensors(
      this.checkpoint,
      [{ name: 'state', dtype: 'F32', shape: [4, layout.size], data: state }, ...kept],
      { metadata: [[KEY, JSON.stringify(header)]] },
    );
    await this.#writeModel(recipe, layout, state.subarray(3 * layout.size), fixed);
    await writeFile(join(this.path, 'curves.png'), await renderCurves(await this.log()));
  }

  /** @throws HrsamError ERR_FILE, ERR_WEIGHTS or ERR_CONFIG when there is none or it is none */
  async load(): Promise<SavedTraining> {
    await using file = await openCheckpoint(this.checkpoint);
    const text = file.metadata.get(KEY);
    const state = file.tensors.get('state');
    if (text === undefined || !state)
      throw new HrsamError('ERR_WEIGHTS', 'is no checkpoint of a training', { where: this.checkpoint });
    const header = parse(text, this.checkpoint);
    const fixed = new Map<string, Float32Array>();
    for (const [name, entry] of file.tensors) if (entry !== state) fixed.set(name, await entry.read());
    return {
      recipe: readRecipe(header.recipe, this.checkpoint),
      step: header.step,
      state: await state.read(),
      fixed: (name) => {
        const values = fixed.get(name);
        if (values) return values;
        throw new HrsamError('ERR_WEIGHTS', `tensor '${name}' is missing`, { where: this.checkpoint });
      },
    };
  }

  async append(line: LogLine): Promise<void> {
    await appendFile(this.#log, `${JSON.stringify(line)}\n`);
  }

  async log(): Promise<LogLine[]> {
    const text = await readFile(this.#log, 'utf8').catch(() => '');
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as LogLine);
  }

  /** Forgets what was logged after a step: it will be done again. */
  async cutLog(step: number): Promise<void> {
    const kept = (await this.log()).filter((line) => line.step <= step);
    await writeFile(this.#log, kept.map((line) => `${JSON.stringify(line)}\n`).join(''));
  }

  async #writeModel(
    { model }: Recipe,
    layout: ParameterLayout,
    values: Float32Array,
    fixed: readonly (Parameter & { values: Float32Array })[],
  ): Promise<void> {
    const trained = layout.parameters.map(({ name, shape }, i) => {
      const begin = layout.offsets[i]!;
      const end = layout.offsets[i + 1] ?? layout.size;
      return { name, shape, values: values.subarray(begin, end) };
    });
    const tensors = [...trained, ...fixed].map(({ name, shape, values: data }) => ({
      name: toOfficialName(name, model.family),
      dtype: 'F32' as const,
      shape,
      data,
    }));
    await writeSafetensors(this.model, tensors, { metadata: [configToMetadata(model)] });
  }
}

const listed = (parameters: readonly Parameter[]) => parameters.map(({ name, shape }) => [name, shape]);

function parse(text: string, where: string): Header {
  let header: Partial<Header> | null;
  try {
    header = JSON.parse(text);
  } catch (cause) {
    throw new HrsamError('ERR_CONFIG', `${KEY} is no JSON`, { where, cause });
  }
  if (!Number.isSafeInteger(header?.step) || header!.step! < 0)
    throw new HrsamError('ERR_CONFIG', `${KEY}: step`, {
      where,
      expected: 'a whole number from 0',
      actual: header?.step,
    });
  return header as Header;
}
