import { firstOf, HrsamError } from '../errors.js';
import type { Device } from '../runtime/device.js';
import { Owned } from '../runtime/owned.js';
import { openWeights } from '../weights/checkpoint.js';
import { CONFIG_KEY, differingSettings } from '../weights/config.js';
import type { SavedTraining } from './checkpoint.js';
import { layerDecayGroups } from './groups.js';
import { adoptValues, initialValues } from './initial.js';
import { ParameterLayout } from './layout.js';
import { openTasks, type Place } from './open_task.js';
import { MOMENTS } from './optimizer.js';
import { FixedTensors, recipeTensors, type Values } from './parameters.js';
import type { Recipe } from './recipe.js';
import { means, runTask, type StepReport } from './run.js';
import { RunFolder, type Validation } from './run_folder.js';
import type { Task } from './task.js';
import { openTeacher, type Teacher, taughtRecipe } from './teacher.js';
import { diverged, initialState, Trainer, type TrainerOptions } from './trainer.js';

export interface TrainingOptions {
  /** What the recipe must be about. */
  task: Recipe['task'];
  /** Folders of data sets. */
  data: readonly string[];
  /** Of a distillation: for each of them what `hrsam embed` made of it. */
  teacher?: readonly string[];
  /** Where everything goes. */
  out: string;
  /** Weights to begin with, where they fit. */
  init?: string;
  /** Minutes between checkpoints. */
  every: number;
  /** Judges a model that was saved, with every checkpoint. */
  validate?(model: string, signal?: AbortSignal): Promise<Validation>;
  signal?: AbortSignal;
  onStep?(report: Report): void;
  /** Something the user should know. */
  onNote?(note: string): void;
}

/** How far a training is. */
export interface Report extends StepReport {
  /** Steps in all. */
  of: number;
  /** Samples a second. */
  speed: number;
  /** Seconds until the last step, at that speed. */
  left: number;
}

/** Steps that a line of the log sums up. */
const LOGGED_STEPS = 20;

/**
 * One device, or several that compute a step's micro-batches at the same time: as many at most as the recipe accumulates.
 * Their number does not change the result.
 */
export type Devices = Device | readonly [Device, ...Device[]];

/**
 * Trains by a recipe from its beginning; the run's folder then holds checkpoint, model (the parameters' moving average),
 * log and curves.
 * @throws HrsamError ERR_FILE when there is a training in the folder already, ERR_ARGUMENT for more devices than
 * micro-batches, and whatever data and weights have wrong
 */
export async function beginTraining(
  devices: Devices,
  given: Recipe,
  options: TrainingOptions,
): Promise<void> {
  expectTask(given, options.task, 'recipe');
  expectWork(given, devices);
  const teacher = options.teacher && (await openTeacher(options.teacher));
  const recipe = given.task === 'distill' && teacher ? taughtRecipe(given, teacher) : given;
  const { trained, fixed } = recipeTensors(recipe);
  const found = await initialised(recipe, teacher, options);
  const values: Values = (name, shape) => teacher?.decoder.get(name) ?? found(name, shape);
  const state = initialState(new ParameterLayout(trained), values);
  const kept = new Map(fixed.map(({ name, shape }) => [name, values(name, shape)]));
  const folder = new RunFolder(options.out);
  await folder.create();
  const { warmup, steps } = recipe;
  if (warmup >= steps)
    options.onNote?.(
      `the warm-up, ${warmup} steps, is as long as the training: the learning rate stays small`,
    );
  const start = { recipe, step: 0, state, fixed: (name: string) => kept.get(name)! };
  await train(devices, folder, start, teacher, options);
}

/**
 * Goes on from a folder's last checkpoint, to the byte as if it had never stopped, on as many devices as there are now.
 * @throws HrsamError ERR_FILE, ERR_WEIGHTS, ERR_CONFIG for a checkpoint that is missing, damaged, of another model or of
 * other data, ERR_ARGUMENT for more devices than micro-batches
 */
export async function resumeTraining(devices: Devices, options: TrainingOptions): Promise<void> {
  const folder = new RunFolder(options.out);
  const saved = await folder.load();
  expectTask(saved.recipe, options.task, folder.checkpoint);
  expectWork(saved.recipe, devices);
  await train(devices, folder, saved, options.teacher && (await openTeacher(options.teacher)), options);
}

function expectTask({ task }: Recipe, expected: Recipe['task'], where: string): void {
  if (task !== expected) throw new HrsamError('ERR_CONFIG', 'task', { where, expected, actual: task });
}

/** Going on with other data or another teacher would be another training. */
function expectSources(known: SavedTraining['sources'], sources: readonly string[], where: string): void {
  if (known === undefined || known.join('\n') === sources.join('\n')) return;
  const shown = (lines: readonly string[]) => (lines.length > 0 ? lines : 'scenes alone');
  const [expected, actual] = [shown(known), shown(sources)];
  throw new HrsamError('ERR_CONFIG', 'a training on other data', { where, expected, actual });
}

/** A device without a micro-batch would sit idle. */
function expectWork({ accumulate }: Recipe, devices: Devices): void {
  const count = [devices].flat().length;
  if (count > accumulate)
    throw new HrsamError('ERR_ARGUMENT', 'more devices than micro-batches in a step', {
      expected: `${accumulate} at most (accumulate in the recipe)`,
      actual: count,
    });
}

/** What training begins with: a checkpoint's values as far as they fit, else random ones. */
async function initialised(
  recipe: Recipe,
  teacher: Teacher | undefined,
  { init, onNote }: TrainingOptions,
): Promise<Values> {
  const values = initialValues(recipe.seed);
  if (init === undefined) return values;
  const { trained, fixed } = recipeTensors(recipe);
  const wanted = [...trained, ...fixed].filter(({ name }) => !teacher?.decoder.has(name));
  await using checkpoint = await openWeights(init);
  const adopted = await adoptValues(checkpoint, wanted, values);
  // A file that tells no settings was given some that may be others than its model's.
  if (checkpoint.metadata.has(CONFIG_KEY)) {
    const differing = differingSettings(checkpoint.config, recipe.model).filter(
      (name) => !teacher || !/^(prompt|decoder)\./.test(name),
    );
    if (differing.length > 0)
      onNote?.(`${checkpoint.name} is of a model with other settings: ${differing.join(', ')}`);
  }
  if (adopted.fresh.length > 0) onNote?.(`begins anew: ${firstOf(adopted.fresh, 4)}`);
  if (adopted.widened.length > 0) onNote?.(`widened: ${firstOf(adopted.widened, 4)}`);
  return adopted.values;
}

async function train(
  devices: Devices,
  folder: RunFolder,
  start: SavedTraining,
  teacher: Teacher | undefined,
  options: TrainingOptions,
): Promise<void> {
  const { recipe } = start;
  const { data, onNote } = options;
  const { trained, fixed } = recipeTensors(recipe);
  using owned = new Owned();
  const layout = new ParameterLayout(trained);
  const trainer = owned.add(
    await Trainer.create(devices, layout, trainerOptions(recipe), start.state, start.step),
  );
  const places = trainer.replicas.map((replica) => ({
    replica,
    constants: owned.add(new FixedTensors(replica.device, fixed, start.fixed)),
  })) as [Place, ...Place[]];
  const onCorrupt = (error: HrsamError) => onNote?.(`left out: ${error.message}`);
  const { tasks, sources } = await openTasks(recipe, places, { data, teacher, onCorrupt, onNote });
  for (const task of tasks) owned.add(task);
  expectSources(start.sources, sources, folder.checkpoint);
  const save = async () => {
    const state = (await trainer.state.data()) as Float32Array;
    // A gradient may overflow where the loss does not: what is saved stays good.
    if (!state.every(Number.isFinite)) throw diverged('parameters are not finite', trainer.taken);
    await folder.save({ ...start, sources, step: trainer.taken, state });
  };
  // Before the first step too: a run can be resumed wherever it is killed.
  if (start.step === 0) await save();
  try {
    await follow(trainer, tasks, recipe, folder, save, options);
  } catch (error) {
    // Most likely the recipe's fault or the data's: the one that mends it is not turned away.
    if (trainer.taken === 0) await folder.discard();
    throw error;
  }
}

/** Takes the steps; log and checkpoints are kept up. */
async function follow(
  trainer: Trainer,
  tasks: readonly Task[],
  { accumulate, batch, steps }: Recipe,
  folder: RunFolder,
  save: () => Promise<void>,
  { every, signal, validate, onStep, onNote }: TrainingOptions,
): Promise<void> {
  let [saved, logged] = [performance.now(), performance.now()];
  let reports: StepReport[] = [];
  const speed = () => (1000 * reports.length * batch * accumulate) / (performance.now() - logged);
  const log = async () => {
    const last = reports.at(-1);
    if (!last) return;
    const { loss, ...figures } = means(reports.map((report) => ({ loss: report.loss, ...report.figures })));
    await folder.append({ step: last.step, loss: loss!, rate: last.rate, speed: speed(), ...figures });
    [reports, logged] = [[], performance.now()];
  };
  // The log goes first: a checkpoint's steps are all in it.
  const keep = async () => {
    await log();
    await save();
    if (validate && !signal?.aborted) await judge(validate);
    saved = logged = performance.now();
  };
  const judge = async (validate: NonNullable<TrainingOptions['validate']>) => {
    // Going on where no step was taken since.
    if ((await folder.validations()).some(({ step }) => step === trainer.taken)) return;
    try {
      const found = await validate(folder.model, signal);
      const best = await folder.judged(trainer.taken, found);
      const figures = Object.entries(found).map(([name, value]) => `${name} ${value.toFixed(3)}`);
      onNote?.(`step ${trainer.taken}: validation ${figures.join(', ')}${best ? ', the best so far' : ''}`);
    } catch (error) {
      // What was to be judged is saved; a training that is ended need not know how good it is.
      if (!signal?.aborted) throw error;
    }
  };
  // What it begins with, too: later ones compare with it, and data that cannot be judged are found at once.
  if (validate && trainer.taken === 0) await judge(validate);
  logged = performance.now();
  await runTask(trainer, tasks, {
    accumulate,
    steps,
    signal,
    async onStep(report) {
      reports.push(report);
      const left = ((steps - report.step) * batch * accumulate) / speed();
      onStep?.({ ...report, of: steps, speed: speed(), left });
      if (reports.length === LOGGED_STEPS) await log();
      if (performance.now() - saved > every * 60_000 && report.step < steps) await keep();
    },
  });
  await keep();
}

const trainerOptions = (recipe: Recipe): TrainerOptions => {
  const {
    optimizer,
    dtype,
    learningRate: peak,
    warmup,
    steps,
    clip,
    emaDecay,
    weightDecay,
    layerDecay,
    model,
  } = recipe;
  const rules = { weightDecay, layerDecay, depth: model.encoder.depth };
  return {
    optimizer,
    groups: layerDecayGroups(recipeTensors(recipe).trained, rules),
    schedule: { peak, warmup, steps },
    adamw: { ...MOMENTS[optimizer], clip },
    compute: dtype,
    emaDecay,
  };
};
