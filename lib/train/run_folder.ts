import { appendFile, lstat, readFile, rm } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { HrsamError } from '../errors.js';
import { cannotWrite, makeFolder, removePartial, writeWhole } from '../files.js';
import { configToMetadata } from '../weights/config.js';
import { toOfficialName } from '../weights/names.js';
import { writeSafetensors } from '../weights/safetensors_writer.js';
import { readCheckpoint, type SavedTraining, writeCheckpoint } from './checkpoint.js';
import { renderCurves } from './curves.js';
import { ParameterLayout } from './layout.js';
import { recipeTensors } from './parameters.js';

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

/** How good a model is on pictures that it does not learn from, 0 to 1. */
export interface Validation {
  /** Mean IoU after a click. */
  iou: number;
  /** After five, which decides which model is the best. */
  miou: number;
}

export type ValidationLine = Validation & { step: number };

/** Where a training keeps its checkpoint, its log, its curves and the model as it is. */
export class RunFolder {
  constructor(readonly path: string) {}

  get checkpoint(): string {
    return join(this.path, 'checkpoint.safetensors');
  }

  get model(): string {
    return join(this.path, 'model.safetensors');
  }

  /** The one of the best validation. */
  get best(): string {
    return join(this.path, 'best.safetensors');
  }

  get #validation(): string {
    return join(this.path, 'validation.jsonl');
  }

  get #curves(): string {
    return join(this.path, 'curves.png');
  }

  get #log(): string {
    return join(this.path, 'log.jsonl');
  }

  /**
   * Makes the folder for a new training.
   * @throws HrsamError ERR_FILE when there is one in it already, or a file that a training would write over
   */
  async create(): Promise<void> {
    await makeFolder(this.path);
    const there: string[] = [];
    for (const path of [this.checkpoint, this.#log, ...this.#made])
      if (await lstat(path).catch(() => undefined)) there.push(basename(path));
    if (there.includes(basename(this.checkpoint)))
      throw new HrsamError('ERR_FILE', 'there is a training in it already', {
        where: this.path,
        expected: '--resume, or another folder',
      });
    if (there.length > 0)
      throw new HrsamError('ERR_FILE', 'there are files of these names already', {
        where: this.path,
        expected: 'another folder',
        actual: there.join(', '),
      });
  }

  /** What a training makes besides its checkpoint and its log. */
  get #made(): string[] {
    return [this.model, this.best, this.#validation, this.#curves];
  }

  /** Forgets a training that took no step: another may begin here. Whatever `create` let pass is its own. */
  async discard(): Promise<void> {
    for (const path of [this.checkpoint, ...this.#made]) await rm(path, { force: true });
  }

  /** Everything that going on needs, then what people look at. Each file appears complete or not at all. */
  async save(training: SavedTraining): Promise<void> {
    await writeCheckpoint(this.checkpoint, training);
    await this.#writeModel(training);
    await this.#draw();
  }

  async #draw(): Promise<void> {
    await writeWhole(this.#curves, await renderCurves(await this.log(), await this.validations()));
  }

  /**
   * The last checkpoint; the log forgets what came after it, which will be done again.
   * @throws HrsamError ERR_FILE, ERR_WEIGHTS or ERR_CONFIG when there is none or it is none
   */
  async load(): Promise<SavedTraining> {
    const saved = await readCheckpoint(this.checkpoint);
    await removePartial(this.path);
    for (const path of [this.#log, this.#validation]) {
      const text = await readText(path);
      const kept = parseLines<{ step: number }>(text).filter(({ step }) => step <= saved.step);
      const whole = kept.map((line) => `${JSON.stringify(line)}\n`).join('');
      if (whole !== text) await writeWhole(path, whole);
    }
    return saved;
  }

  async append(line: LogLine): Promise<void> {
    await appendLine(this.#log, line);
  }

  async log(): Promise<LogLine[]> {
    return parseLines(await readText(this.#log));
  }

  async validations(): Promise<ValidationLine[]> {
    return parseLines(await readText(this.#validation));
  }

  /** Keeps what the model that was saved last is worth, and the model where none was better. @returns whether none was */
  async judged(step: number, found: Validation): Promise<boolean> {
    const best = (await this.validations()).every(({ miou }) => found.miou > miou);
    if (best) await writeWhole(this.best, await readFile(this.model));
    await appendLine(this.#validation, { step, ...found });
    await this.#draw();
    return best;
  }

  /** The moving average of the parameters, and what is not trained. */
  async #writeModel({ recipe, state, fixed }: SavedTraining): Promise<void> {
    const { model } = recipe;
    const tensors = recipeTensors(recipe);
    const layout = new ParameterLayout(tensors.trained);
    const average = layout.averageOf(state);
    const trained = tensors.trained.map(({ name, shape }, i) => {
      const end = layout.offsets[i + 1] ?? layout.size;
      return { name, shape, data: average.subarray(layout.offsets[i]!, end) };
    });
    const others = tensors.fixed.map(({ name, shape }) => ({ name, shape, data: fixed(name, shape) }));
    await writeSafetensors(
      this.model,
      [...trained, ...others].map(({ name, ...tensor }) => ({
        name: toOfficialName(name, model.family),
        dtype: 'F32',
        ...tensor,
      })),
      { metadata: [configToMetadata(model)] },
    );
  }
}

/** @throws HrsamError ERR_FILE */
async function appendLine(path: string, line: object): Promise<void> {
  await appendFile(path, `${JSON.stringify(line)}\n`).catch((cause) => {
    throw cannotWrite(path, cause);
  });
}

const readText = (path: string): Promise<string> => readFile(path, 'utf8').catch(() => '');

/** All lines; one that a process was killed in is left out. */
function parseLines<T>(text: string): T[] {
  return text.split('\n').flatMap((line) => {
    try {
      return line === '' ? [] : [JSON.parse(line) as T];
    } catch {
      return [];
    }
  });
}
