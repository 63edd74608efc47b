import { workTogether } from '../all_of.js';
import { HrsamError } from '../errors.js';
import type { Pixels } from '../image/pixels.js';
import { rleArea } from '../image/rle.js';
import type { ClickRule } from '../predictor/simulated_user.js';
import {
  corrupt,
  type DataSet,
  type LabelledObject,
  type LabelledPicture,
  type ObjectMask,
} from './data/dataset.js';
import type { Method, OpenedPicture } from './method.js';
import { type ObjectResult, runObject } from './run_object.js';
import { REPORTED_CLICKS } from './summary.js';

export interface EvaluationOptions {
  /** Most clicks per object. Default 20. */
  clicks?: number;
  /** Start each object with its box. */
  box?: boolean;
  rule?: ClickRule;
  /** Most objects. */
  limit?: number;
  /** Pictures that are at work at a time; more than one, and times are those of a busy machine. Default 1. */
  jobs?: number;
  signal?: AbortSignal;
  /** Called after each object and each failure. */
  onProgress?: (done: { masks: number; failed: number; pictures: number; of: number }) => void;
}

export interface EvaluatedObject extends ObjectResult {
  picture: string;
  pictureId?: number;
  object: string;
  category?: number;
}

/** An entry that could not be judged, and why. */
export interface FailedEntry {
  entry: string;
  error: string;
}

export interface Evaluation {
  objects: EvaluatedObject[];
  failed: FailedEntry[];
  /** Milliseconds that making each picture ready took. */
  pictureMs: number[];
}

/** What became of an entry of a picture. */
type Outcome = EvaluatedObject | FailedEntry;
const isFailed = (outcome: Outcome): outcome is FailedEntry => 'entry' in outcome;

interface JudgedPicture {
  outcomes: Outcome[];
  /** Of them, those that are no failures. */
  masks: number;
  /** Milliseconds that making it ready took, where anything was asked. */
  ms?: number;
}

/**
 * Judges a method on a data set: each picture is made ready once for all its objects. An entry that cannot be read
 * is reported and left out. The caller's abort and a lack of memory end the evaluation. However many pictures are at
 * work at a time, all but the times is as if they came one after the other.
 */
export async function evaluateClicks(
  method: Method,
  data: DataSet,
  options: EvaluationOptions = {},
): Promise<Evaluation> {
  const { limit = Number.POSITIVE_INFINITY, jobs = 1, onProgress } = options;
  const begun: JudgedPicture[] = [];
  /** Whether the first so many pictures that were begun have what is wanted. */
  const suffice = (pictures: number) =>
    limit !== Number.POSITIVE_INFINITY &&
    begun.slice(0, pictures).reduce((sum, { masks }) => sum + masks, 0) >= limit;
  const told = { masks: 0, failed: 0 };
  await workTogether(jobs, async (_, failed) => {
    while (!failed() && begun.length < data.pictures.length && !suffice(begun.length)) {
      const index = begun.length;
      const judged: JudgedPicture = { outcomes: [], masks: 0 };
      begun.push(judged);
      await judgePicture(method, data.pictures[index]!, judged, {
        ...options,
        // Those before may yet turn out to have more, never fewer.
        enough: () => failed() || suffice(index + 1),
        onOutcome: (outcome) => {
          if (isFailed(outcome)) told.failed++;
          else told.masks = Math.min(told.masks + 1, limit);
          onProgress?.({ ...told, pictures: begun.length, of: data.pictures.length });
        },
      });
    }
  });
  return inOrder(begun, limit);
}

/** What one picture after the other would have come to. */
function inOrder(pictures: readonly JudgedPicture[], limit: number): Evaluation {
  const evaluation: Evaluation = { objects: [], failed: [], pictureMs: [] };
  const { objects, failed, pictureMs } = evaluation;
  for (const { outcomes, ms } of pictures) {
    if (objects.length >= limit) break;
    if (ms !== undefined) pictureMs.push(ms);
    for (const outcome of outcomes) {
      if (objects.length >= limit) break;
      if (isFailed(outcome)) failed.push(outcome);
      else objects.push(outcome);
    }
  }
  return evaluation;
}

interface PictureOptions extends EvaluationOptions {
  /** Whether no further object is wanted. */
  enough(): boolean;
  onOutcome(outcome: Outcome): void;
}

async function judgePicture(
  method: Method,
  picture: LabelledPicture,
  judged: JudgedPicture,
  options: PictureOptions,
): Promise<void> {
  const { clicks = 20, signal, enough, onOutcome } = options;
  const boundaryAt = REPORTED_CLICKS.filter((count) => count <= clicks);
  const add = (outcome: Outcome) => {
    judged.outcomes.push(outcome);
    if (!isFailed(outcome)) judged.masks++;
    onOutcome(outcome);
  };
  /** Does what an entry needs, or reports why it cannot be done. */
  const attempt = async <T>(entry: string, work: () => Promise<T>): Promise<T | undefined> => {
    try {
      return await work();
    } catch (error) {
      if (signal?.aborted || !isEntrysFault(error)) throw error;
      add({ entry, error: (error as Error).message });
      return undefined;
    }
  };
  const entry = await attempt(picture.name, async () => ({
    pixels: await picture.read(),
    list: await picture.objects(),
  }));
  if (!entry) return;
  const { pixels, list } = entry;
  let opened: OpenedPicture | undefined;
  try {
    for (const object of list) {
      if (enough()) break;
      const name = `${picture.name}: ${object.name}`;
      const truth = await attempt(name, () => readObject(object, pixels, name));
      if (!truth) continue;
      if (!opened) {
        const begin = performance.now();
        opened = await method.open(pixels, signal);
        judged.ms = performance.now() - begin;
      }
      const result = await runObject(opened, truth, { ...options, clicks, boundaryAt });
      const { id: pictureId } = picture;
      const { category } = object;
      add({ picture: picture.name, pictureId, object: object.name, category, ...result });
    }
  } finally {
    opened?.[Symbol.dispose]();
  }
}

/** Files and what is in them; anything else is not the entry's fault. */
function isEntrysFault(error: unknown): boolean {
  const codes = ['ERR_FILE', 'ERR_IMAGE', 'ERR_SHAPE', 'ERR_ARGUMENT'];
  return error instanceof HrsamError && codes.includes(error.code);
}

async function readObject(object: LabelledObject, pixels: Pixels, where: string): Promise<ObjectMask> {
  const found = await object.read();
  const [height, width] = found.mask.size;
  if (height !== pixels.height || width !== pixels.width) {
    const size = `${pixels.width} x ${pixels.height}`;
    corrupt(where, 'a mask of another size than its picture', size, `${width} x ${height}`);
  }
  if (rleArea(found.mask) === 0) corrupt(where, 'a mask without a pixel');
  return found;
}
