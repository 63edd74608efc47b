import { HrsamError } from '../errors.js';
import type { Pixels } from '../image/pixels.js';
import { rleArea } from '../image/rle.js';
import type { ClickRule } from '../predictor/simulated_user.js';
import { corrupt, type DataSet, type LabelledObject, type ObjectMask } from './data/dataset.js';
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

/**
 * Judges a method on a data set: each picture is made ready once for all its objects. An entry that cannot be read
 * is reported and left out. The caller's abort and a lack of memory end the evaluation.
 */
export async function evaluateClicks(
  method: Method,
  data: DataSet,
  options: EvaluationOptions = {},
): Promise<Evaluation> {
  const { clicks = 20, limit = Number.POSITIVE_INFINITY, signal, onProgress } = options;
  const evaluation: Evaluation = { objects: [], failed: [], pictureMs: [] };
  const { objects, failed } = evaluation;
  const boundaryAt = REPORTED_CLICKS.filter((count) => count <= clicks);
  for (const [index, picture] of data.pictures.entries()) {
    if (objects.length >= limit) break;
    const progress = () =>
      onProgress?.({
        masks: objects.length,
        failed: failed.length,
        pictures: index + 1,
        of: data.pictures.length,
      });
    /** Does what an entry needs, or reports why it cannot be done. */
    const attempt = async <T>(entry: string, work: () => Promise<T>): Promise<T | undefined> => {
      try {
        return await work();
      } catch (error) {
        if (signal?.aborted || !isEntrysFault(error)) throw error;
        failed.push({ entry, error: (error as Error).message });
        progress();
        return undefined;
      }
    };
    const entry = await attempt(picture.name, async () => ({
      pixels: await picture.read(),
      list: await picture.objects(),
    }));
    if (!entry) continue;
    const { pixels, list } = entry;
    let opened: OpenedPicture | undefined;
    try {
      for (const object of list) {
        if (objects.length >= limit) break;
        const name = `${picture.name}: ${object.name}`;
        const truth = await attempt(name, () => readObject(object, pixels, name));
        if (!truth) continue;
        if (!opened) {
          const begin = performance.now();
          opened = await method.open(pixels, signal);
          evaluation.pictureMs.push(performance.now() - begin);
        }
        const result = await runObject(opened, truth, { ...options, clicks, boundaryAt });
        const { id: pictureId } = picture;
        const { category } = object;
        objects.push({ picture: picture.name, pictureId, object: object.name, category, ...result });
        progress();
      }
    } finally {
      opened?.[Symbol.dispose]();
    }
  }
  return evaluation;
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
