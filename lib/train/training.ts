import { HrsamError } from '../errors.js';
import type { Device } from '../runtime/device.js';
import { openWeights } from '../weights/checkpoint.js';
import { ClickTask } from './click_task.js';
import { layerDecayGroups } from './groups.js';
import { adoptValues, initialValues } from './initial.js';
import { ParameterLayout } from './layout.js';
import { FixedTensors, modelTensors, type Values } from './parameters.js';
import type { Recipe } from './recipe.js';
import { means, runTask, type StepReport } from './run.js';
import { RunFolder } from './run_folder.js';
import { openSamples } from './sets.js';
import { ADAMW, initialState, Trainer } from './trainer.js';

export interface TrainingOptions {
  /** Folders of data sets. */
  data: readonly string[];
  /** Where everything goes. */
  out: string;
  /** Weights to begin with, where they fit. */
  init?: string;
  /** Minutes between checkpoints. */
  every: number;
  signal?: AbortSignal;
  onStep?(report: StepReport & { speed: number }): void;
  /** Something the user should know. */
  onNote?(note: string): void;
}

/** Steps that a line of the log sums up. */
const LOGGED_STEPS = 20;

const CACHE_BYTES = 2 ** 31;

/**
 * Trains by a recipe from its beginning; the run's folder then holds checkpoint, model (the parameters' moving average),
 * log and curves.
 * @throws HrsamError ERR_FILE when there is a training in the folder already, and whatever data and weights have wrong
 */
export async function beginTraining(device: Device, recipe: Recipe, options: TrainingOptions): Promise<void> {
  const { out, init, onNote } = options;
  const folder = new RunFolder(out);
  await folder.create();
  if ((await folder.log()).length > 0)
    throw new HrsamError('ERR_FILE', 'there is a training in it already', {
      where: out,
      expected: '--resume, or another folder',
    });
  const { trained, fixed } = modelTensors(recipe.model);
  let values: Values = initialValues(recipe.seed);
  if (init) {
    await using checkpoint = await openWeights(init);
    const adopted = await adoptValues(checkpoint, [...trained, ...fixed], values);
    values = adopted.values;
    if (adopted.fresh.length > 0) onNote?.(`begins anew: ${adopted.fresh.join(', ')}`);
    if (adopted.widened.length > 0) onNote?.(`widened: ${adopted.widened.join(', ')}`);
  }
  const layout = new ParameterLayout(trained);
  const shapes = new Map(trained.map(({ name, shape }) => [name, shape]));
  const state = initialState(layout, (name) => values(name, shapes.get(name)!));
  await train(device, recipe, folder, { step: 0, state, fixed: values }, options);
}

/**
 * Goes on from a folder's last checkpoint, to the byte as if it had never stopped.
 * @throws HrsamError ERR_FILE, ERR_WEIGHTS, ERR_CONFIG for a checkpoint that is missing, damaged or of another model
 */
export async function resumeTraining(device: Device, options: TrainingOptions): Promise<void> {
  const folder = new RunFolder(options.out);
  const { recipe, ...saved } = await folder.load();
  await folder.cutLog(saved.step);
  await train(device, recipe, folder, saved, options);
}

interface Start {
  step: number;
  state: Float32Array;
  fixed: Values;
}

async function train(
  device: Device,
  recipe: Recipe,
  folder: RunFolder,
  start: Start,
  { data, every, signal, onStep, onNote }: TrainingOptions,
): Promise<void> {
  const { learningRate, warmup, steps, clip, average, weightDecay, layerDecay, model, batch, accumulate } =
    recipe;
  const { trained, fixed } = modelTensors(model);
  const kept = fixed.map((tensor) => ({ ...tensor, values: start.fixed(tensor.name, tensor.shape) }));
  const sample = await openSamples(recipe, data, {
    cacheBytes: CACHE_BYTES,
    onCorrupt: (error) => onNote?.(`left out: ${error.message}`),
  });
  const layout = new ParameterLayout(trained);
  const options = {
    groups: layerDecayGroups(trained, { weightDecay, layerDecay, depth: model.encoder.depth }),
    schedule: { peak: learningRate, warmup, steps },
    adamw: { ...ADAMW, clip },
    average,
  };
  using trainer = await Trainer.create(device, layout, options, start.state, start.step);
  const constants = new FixedTensors(device, fixed, start.fixed);
  const { clicks, focal, dtype: compute, size, seed } = recipe;
  const { most, steps: learned, ...rest } = clicks;
  const task = new ClickTask(trainer, model, constants, sample, {
    ...rest,
    size,
    batch,
    seed,
    focal,
    compute,
    clicks: most,
    steps: learned,
  });
  const save = async () =>
    folder.save(recipe, layout, trainer.taken, (await trainer.state.data()) as Float32Array, kept);
  let [saved, logged] = [performance.now(), performance.now()];
  let reports: StepReport[] = [];
  try {
    await runTask(trainer, task, {
      accumulate,
      steps,
      signal,
      async onStep(report) {
        reports.push(report);
        const now = performance.now();
        const speed = (1000 * reports.length * batch * accumulate) / (now - logged);
        onStep?.({ ...report, speed });
        if (report.step % LOGGED_STEPS === 0 || report.step === steps) {
          const { loss, ...figures } = means(reports.map((r) => ({ loss: r.loss, ...r.figures })));
          await folder.append({ step: report.step, loss: loss!, rate: report.rate, speed, ...figures });
          [reports, logged] = [[], now];
        }
        if (now - saved > every * 60_000 && report.step < steps) {
          await save();
          saved = performance.now();
        }
      },
    });
    await save();
  } finally {
    await task.dispose();
    constants.dispose();
  }
}
