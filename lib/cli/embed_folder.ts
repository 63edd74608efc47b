import { workTogether } from '../all_of.js';
import { type ListedPicture, listPictures } from '../data/pictures.js';
import { HrsamError } from '../errors.js';
import { removePartial } from '../files.js';
import { EmbeddingStore } from '../predictor/embedding_store.js';
import type { HRSAM } from '../predictor/hrsam.js';
import { openModel } from '../predictor/load.js';
import { shippedWeights } from '../weights/shipped.js';
import { interruption } from './interrupt.js';
import { describeModel, loadModels, Stopwatch } from './model.js';
import { type ModelOptions, readConfig } from './options.js';
import { formatMs, print, printJson, warn } from './output.js';
import { progressBar } from './progress.js';

export interface EmbedFolderOptions extends ModelOptions {
  output: string;
  size?: number;
  json?: boolean;
}

/** Fills a folder with the embeddings of all pictures of another; those that are there already stay. */
export async function embedFolder(input: string, options: EmbedFolderOptions): Promise<void> {
  const leftOut: string[] = [];
  const leaveOut = (error: HrsamError) => {
    leftOut.push(error.message);
    warn(`left out: ${error.message}`);
  };
  const pictures = await listPictures(input, leaveOut);
  const goesOn = await EmbeddingStore.isOne(options.output);
  const store = await openStore(options);
  if (goesOn) await removePartial(store.folder);
  const watch = new Stopwatch();
  using models = await watch.time('load', () => loadModels(options));
  const missing: ListedPicture[] = [];
  for (const picture of pictures) if (!(await store.has(picture.name))) missing.push(picture);
  const embedded = await watch.time('embed', () =>
    embedAll(store, models.all, pictures.length, missing, leaveOut),
  );
  const complete = pictures.length - missing.length;
  if (options.json) {
    const counts = { pictures: pictures.length, embedded, complete, leftOut };
    const { ms } = watch;
    printJson({
      input,
      output: options.output,
      size: store.origin.size,
      ...counts,
      model: { ...describeModel(models.all[0], options), device: models.device },
      ms,
    });
  } else {
    const counts = [`${embedded} embedded`, `${complete} there already`, `${leftOut.length} left out`];
    print(`${options.output}  ${counts.join(', ')} in ${formatMs(watch.ms.embed!)} on ${models.device}`);
  }
  if (embedded + complete === 0)
    throw new HrsamError('ERR_FILE', 'no picture could be embedded', { where: input });
}

async function openStore(options: EmbedFolderOptions): Promise<EmbeddingStore> {
  const checkpoint = await openModel(options.weights ?? shippedWeights(), await readConfig(options));
  try {
    return await EmbeddingStore.create(
      options.output,
      checkpoint,
      options.size ?? checkpoint.config.image.size,
    );
  } finally {
    await checkpoint.close();
  }
}

/** Of each model: one's file is read or written while another is encoded. */
const AT_ONCE = 2;

/** How many could be embedded. */
async function embedAll(
  store: EmbeddingStore,
  models: readonly HRSAM[],
  total: number,
  missing: readonly ListedPicture[],
  leaveOut: (error: HrsamError) => void,
): Promise<number> {
  const bar = await progressBar('embedding');
  let done = total - missing.length;
  let embedded = 0;
  const todo = missing.values();
  try {
    await workTogether(models.length * AT_ONCE, async (worker, failed) => {
      for (const picture of todo) {
        if (failed()) return;
        bar.update(done, total);
        if (await embedInto(store, models[worker % models.length]!, picture, leaveOut)) embedded++;
        done++;
      }
    });
  } finally {
    bar.end();
  }
  return embedded;
}

/** Whether a file could not be written for its name, too long or a folder's: others can. A full disk ends the run. */
const isOfName = (cause: unknown): boolean =>
  ['ENAMETOOLONG', 'EISDIR'].includes((cause as NodeJS.ErrnoException | undefined)?.code ?? '');

/** False where the picture cannot be read, or no file can have its embedding's name. */
async function embedInto(
  store: EmbeddingStore,
  model: HRSAM,
  { name, path }: ListedPicture,
  leaveOut: (error: HrsamError) => void,
): Promise<boolean> {
  const { size } = store.origin;
  const encoded = await model
    .encode(path, { size, coarseToFine: false, signal: interruption() })
    .catch((error) => {
      if (!(error instanceof HrsamError) || !['ERR_IMAGE', 'ERR_FILE'].includes(error.code)) throw error;
      leaveOut(error);
      return undefined;
    });
  if (!encoded) return false;
  using image = encoded;
  try {
    await store.add(name, image);
    return true;
  } catch (error) {
    if (!(error instanceof HrsamError) || !isOfName(error.cause)) throw error;
    leaveOut(error);
    return false;
  }
}
