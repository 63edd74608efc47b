import { existsSync } from 'node:fs';
import { basename, dirname, resolve, sep } from 'node:path';
import { Command, InvalidArgumentError, Option } from 'commander';
import { isFolder } from '../data/files.js';
import { HrsamError } from '../errors.js';
import { DATA_FORMATS, type DataFormat } from '../eval/formats.js';
import { realPath } from '../files.js';
import { describeModel, loadModels } from './model.js';
import {
  addModelOptions,
  coarseOption,
  type ModelOptions,
  minRegionOption,
  refineOption,
  weightsOf,
  wholeNumber,
  zoomOption,
} from './options.js';
import { checkOutputs, numbered, printJson } from './output.js';
import { pictureFormat } from './picture_format.js';
import { usageError } from './usage.js';

const BASELINES = ['box', 'grabcut'] as const;

export interface EvalOptions extends ModelOptions {
  data: string;
  format: DataFormat | 'auto';
  split?: string;
  clicks: number;
  box?: boolean;
  size?: number[];
  limit?: number;
  jobs?: number;
  innerK: number;
  seed?: number;
  refine?: number;
  minRegion?: number;
  coarse: boolean;
  zoom?: boolean;
  baseline?: (typeof BASELINES)[number];
  json?: boolean;
  output?: string;
  sheet?: string;
  curves?: string;
  predictions?: string;
}

const HELP = `
Each click goes where the mask is most wrong: to the pixel deepest inside what is missing or too much, on equal terms
to the background, as HRSAM is evaluated. With --inner-k above 1 several pixels qualify; --seed draws one of them. A
picture is encoded once for all its objects: normalised, padded with zeros to multiples of 32 and then resized without
antialiasing, as HRSAM is evaluated. An answer to a prompt without a mask, the first one, is refined as the weights
say, or --refine; above the model's own size answers are made at that first, where the weights say so, unless
--no-coarse; regions apart from the clicks are left out as the weights say, or --min-region; with --zoom an answer is
made again on the part of the picture around it, which is encoded within the click. NoC@q is the mean number
of clicks until IoU reaches q %; an object that misses it counts with all clicks and as a failure. mIoU and boundary
IoU are told after 5 clicks. Entries that cannot be read are listed and left out. Several sizes are judged one after
the other; the first one's figures are those at the top of the JSON, and \`runs\` has all.

Of the layouts (--format), auto takes the first whose files are there. For data of your own, folder: images/ and masks/
with the same names, name__1, name__2 … being objects of name; or index: index.json, a list of { "image": …, "mask": … }
per object with paths relative to it. What is not black is the object.
Of DAVIS all that moves is one object (of the 2017 lists and the unsupervised set each instance), DAVIS-585 begins
without a mask, of COCO panoptic each segment, of BSDS500 what the first annotator drew and covers 1 %, of ADE20K
without instances the region of each class.
Several devices (--device cuda:0,cuda:1) each hold the weights and share the pictures; --jobs changes no figure but the
times.

Examples:
  $ hrsam eval hrsam-b.safetensors --data DAVIS --size 1024,2048 --sheet sheet.png --curves curves.png
  $ hrsam eval hrsam-b.safetensors --data coco --device cuda:0,cuda:1 --dtype bf16 -o coco.json
  $ hrsam eval --baseline grabcut --data photos --clicks 5 --json`;

function sizes(text: string): number[] {
  const values = text.split(',').map(Number);
  if (values.every((value) => Number.isSafeInteger(value) && value > 0)) return values;
  throw new InvalidArgumentError('Expected whole numbers, like 1024,2048.');
}

function factor(text: string): number {
  const value = Number(text);
  if (Number.isFinite(value) && value >= 1) return value;
  throw new InvalidArgumentError('Expected a number from 1.');
}

export function evalCommand(): Command {
  const command = new Command('eval')
    .description('judge a model by simulated clicks on a data set')
    .argument('[weights]', '.safetensors, .pth or .pt, or random:<preset> (untrained)')
    .requiredOption('--data <folder>', 'a data set in its public layout, or its index.json or annotations')
    .addOption(
      new Option('--format <name>', 'layout of the data').choices(['auto', ...DATA_FORMATS]).default('auto'),
    )
    .option(
      '--split <name>',
      'part of the set: val, train, HRSOD, 2017/val, … (default: what is usually judged)',
    )
    .option('--clicks <n>', 'most clicks per object', wholeNumber(1), 20)
    .option('--box', 'start each object with its box')
    .option('--size <pixels>', 'longest sides, separated by commas (default: the weights’)', sizes)
    .option('--limit <n>', 'most objects', wholeNumber(1))
    .option(
      '--jobs <n>',
      'pictures at work at a time; above 1, times are a busy machine’s (default: 8 for each GPU, on the CPU 1)',
      wholeNumber(1),
    )
    .option('--inner-k <k>', 'click anywhere deeper than 1/k of the greatest depth of the error', factor, 1)
    .option('--seed <n>', 'draw among them (default: the first)', wholeNumber(0))
    .addOption(refineOption())
    .addOption(minRegionOption())
    .addOption(coarseOption())
    .addOption(zoomOption())
    .addOption(new Option('--baseline <name>', 'judge this instead of a model').choices(BASELINES))
    .option('--json', 'print the figures as JSON')
    .option('-o, --output <json>', 'figures and every object’s IoUs and clicks')
    .option('--sheet <png>', 'the worst and the best objects as one picture (.png, .jpg or .webp)')
    .option('--curves <png>', 'IoU over the clicks, and how many objects reached 90 and 95 %')
    .option('--predictions <json>', 'masks after the last click, in COCO’s result format');
  return addModelOptions(command).addHelpText('after', HELP).action(evaluate);
}

async function evaluate(argument: string | undefined, given: EvalOptions): Promise<void> {
  const weights = weightsOf(argument, given);
  const options = { ...given, weights };
  const { baseline, size, refine, minRegion, coarse, zoom, json, output, sheet, curves, predictions } =
    options;
  if (baseline && (weights || size || refine !== undefined || minRegion !== undefined || !coarse || zoom))
    usageError('a baseline takes no weights, --size, --refine, --min-region, --no-coarse or --zoom');
  if (sheet) pictureFormat(sheet);
  if (curves && !/\.png$/i.test(curves)) usageError('--curves is a .png');
  const count = size?.length ?? 1;
  const all = (path?: string) =>
    path ? Array.from({ length: count }, (_, i) => numbered(path, i, count)) : [];
  const outputs = [
    ...[output, curves].filter((path) => path !== undefined),
    ...all(sheet),
    ...all(predictions),
  ];
  await checkOutputs(outputs, [weights, options.config]);
  await spareData(outputs, options.data);
  const { judge, printRuns, writeCurves, writeResults, writeSheets } = await import('./eval_run.js');
  const { openDataSet } = await import('../eval/data/open.js');
  const data = await openDataSet(options.data, options.format, { split: options.split });
  const runs: Awaited<ReturnType<typeof judge>>[] = [];
  // After each: what is done is not lost with what follows.
  const keep = async (run: (typeof runs)[number]) => {
    runs.push(run);
    await writeResults(runs, count, options);
  };
  if (baseline) await keep(await judge(data, options, baseline));
  else {
    using models = await loadModels(options);
    const [model] = models.all;
    const wanted = (size ?? [model.config.image.size]).map((each) => model.checkSize(each));
    for (const each of wanted) {
      const described = {
        ...describeModel(model, options),
        device: models.device,
        size: each,
        refinements: refine ?? model.config.decoder.refinements ?? 0,
        minRegion: minRegion ?? model.config.decoder.minRegion ?? 0,
        coarse: model.coarseSize(each, coarse ? undefined : false),
        zoom: zoom ?? false,
      };
      await keep(await judge(data, options, models.all, described));
    }
  }
  if (json) {
    const figures = runs.map(({ figures }) => figures);
    printJson({ ...figures[0], ...(figures.length > 1 && { runs: figures }) });
  } else printRuns(runs, data);
  if (runs.every(({ figures }) => figures.masks === 0))
    throw new HrsamError('ERR_FILE', 'no object could be judged', { where: options.data });
  if (sheet) await writeSheets(runs, data, sheet);
  if (curves) await writeCurves(runs, options.clicks, curves);
}

/** Ends with ERR_FILE where an output would replace a file of the folder that the data are in. */
async function spareData(outputs: readonly string[], data: string): Promise<void> {
  let folder = (await isFolder(data)) ? resolve(data) : dirname(resolve(data));
  if (basename(folder) === 'annotations') folder = dirname(folder);
  const folders = [folder, await realPath(folder)];
  for (const path of outputs.filter(existsSync)) {
    const within = (file: string) => folders.some((each) => file.startsWith(each + sep));
    if ([resolve(path), await realPath(path)].some(within))
      throw new HrsamError('ERR_FILE', 'would overwrite what is there, among the data', { where: path });
  }
}
