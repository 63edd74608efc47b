import { Command, InvalidArgumentError } from 'commander';
import { readJson } from '../data/files.js';
import type { Recipe } from '../train/recipe.js';
import type { Report } from '../train/training.js';
import { interruption } from './interrupt.js';
import { wholeNumber } from './options.js';
import { print, printJson, warn } from './output.js';
import { statusLine } from './progress.js';
import { usageError } from './usage.js';

interface TrainOptions {
  teacher?: string[];
  config?: string;
  data?: string[];
  out: string;
  init?: string;
  resume?: boolean;
  every: number;
  validate?: string;
  validateObjects: number;
  device: string;
  threads?: number;
}

const FINETUNE_HELP = `
The recipe is JSON: model, size, batch and steps at least; hrsam train schema prints all there is, with ranges, defaults
and meanings, and recipes/ in the package's folder has those of the model included. Each step, the model as it is
answers simulated clicks, and some of those prompts are learned from. --data takes folders with an index.json (a list of
{image, mask}), or folders of such folders; without any, synthetic scenes are all there is.
The folder --out then holds model.safetensors (the parameters' moving average), checkpoint.safetensors, log.jsonl (means
since the line before: loss, learning rate, samples per second, IoU of the samples) and curves.png. Ctrl-C ends the step
under way and saves; --resume goes on as if nothing had happened, with the same data, wherever they lie by then.

With --validate, a data set in any layout that hrsam eval reads, each model that is saved is judged on it: mean IoU
after a click and after five in validation.jsonl, with the curves, and the model that has the best after five in
best.safetensors. Training is the same to the byte without it.

With several devices (auto takes one) each computes another of a step's micro-batches, of which "accumulate" in the
recipe says how many there are. The result is that of one device to the byte, so --resume may be on more or fewer of
them.

Example:
  $ hrsam train finetune --config recipe.json --data photos --validate held-out --out run
  $ hrsam train finetune --out run --data photos --resume`;

const DISTILL_HELP = `
The recipe is JSON with "task": "distill"; its model describes the student's encoder. The student learns the embeddings
that the teacher made of the same pictures, by their mean squared error; prompt encoder and mask decoder are the
teacher's and stay as they are. Any model can teach, SAM or HRSAM: hrsam embed fills the folder. For what is in --out,
for --resume and for several devices, see hrsam train finetune --help.

Example:
  $ hrsam embed photos -w sam_vit_h.pth -o embeddings
  $ hrsam train distill --config recipe.json --data photos --teacher embeddings --out run`;

function minutes(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value > 0) return value;
  throw new InvalidArgumentError('Expected minutes.');
}

const collect = (text: string, previous: string[] = []): string[] => [...previous, text];

export function trainCommand(): Command {
  const finetune = new Command('finetune')
    .description('train encoder and decoder by simulated clicks')
    .addHelpText('after', FINETUNE_HELP);
  const distill = new Command('distill')
    .description('train an encoder to give the embeddings of a teacher')
    .option('--teacher <folder>', 'embeddings of --data, as hrsam embed writes them', collect)
    .addHelpText('after', DISTILL_HELP);
  const train = new Command('train').description('train a model');
  for (const command of [distill, finetune]) train.addCommand(withOptions(command));
  train
    .command('schema')
    .description('print what a recipe may hold, as JSON Schema, for people and editors')
    .action(async () => printJson((await import('../train/recipe.js')).describeRecipe()));
  return train;
}

function withOptions(command: Command): Command {
  return command
    .option('--config <json>', 'the recipe')
    .option('--data <folder>', 'data sets; may be given more than once', collect)
    .requiredOption('--out <folder>', 'where checkpoint, model, log and curves go')
    .option('--init <weights>', 'begin with these where they fit')
    .option('--resume', 'go on from the checkpoint in --out')
    .option('--every <minutes>', 'between checkpoints', minutes, 5)
    .option('--validate <folder>', 'a data set to judge the model on with every checkpoint')
    .option('--validate-objects <n>', 'its first ones', wholeNumber(1), 100)
    .option('-d, --device <names>', 'cpu, cuda, cuda:N, several like cuda:0,cuda:1, or auto', 'auto')
    .option('--threads <n>', 'CPU threads (default: all)', wholeNumber(1))
    .action((options: TrainOptions) => train(command.name() as Recipe['task'], options));
}

async function train(task: Recipe['task'], options: TrainOptions): Promise<void> {
  const { config, data = [], teacher, out, init, resume, every, threads, validate } = options;
  if (resume && (config || init))
    usageError('--resume goes on with the recipe of the checkpoint: leave --config and --init out');
  if (!resume && !config) usageError('a recipe is needed: --config recipe.json, or --resume');
  if (task === 'distill' && (!teacher || teacher.length !== data.length))
    usageError('a teacher is needed: for each --data a --teacher, the embeddings of its pictures');
  const [{ beginTraining, resumeTraining }, { readRecipe }, { openDevices }] = await Promise.all([
    import('../train/training.js'),
    import('../train/recipe.js'),
    import('./devices.js'),
  ]);
  const devices = openDevices(options.device);
  if (threads) for (const device of devices) await device.setThreads(threads);
  const judge =
    validate === undefined
      ? undefined
      : await (await import('./validation.js')).openValidation(validate, options.validateObjects, devices[0]);
  // The first step at once: it shows that all is well.
  const line = statusLine(30_000, -Infinity);
  const common = {
    task,
    data,
    teacher,
    out,
    every,
    validate: judge,
    signal: interruption(),
    onStep: (report: Report) => line.show(() => describeStep(report)),
    onNote: warn,
  };
  try {
    if (resume) await resumeTraining(devices, common);
    else {
      const recipe = readRecipe(await readJson(config!, 'ERR_CONFIG'), config, common.onNote);
      await beginTraining(devices, recipe, { ...common, init });
    }
  } finally {
    line.end();
  }
  print(`${out}: ${interruption().aborted ? 'stopped; --resume goes on' : 'done'}`);
}

/** Of so many seconds, in the two units that matter. */
export function duration(seconds: number): string {
  const minutes = Math.round(seconds / 60);
  if (minutes < 1) return `${Math.round(seconds)} s`;
  if (minutes < 60) return `${minutes} min`;
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? `${hours} h ${minutes % 60} min` : `${Math.floor(hours / 24)} d ${hours % 24} h`;
}

function describeStep({ step, of, left, loss, figures, speed }: Report): string {
  const shown = Object.entries(figures).map(([name, value]) => `${name} ${value.toFixed(3)}`);
  const parts = [
    `step ${step} of ${of}`,
    `loss ${loss.toFixed(4)}`,
    ...shown,
    `${speed.toFixed(1)} samples/s`,
  ];
  if (step < of) parts.push(`${duration(left)} left`);
  return parts.join('  ');
}
