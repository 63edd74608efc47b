import { BoxBaseline } from '../eval/baselines/box.js';
import { GrabCutBaseline } from '../eval/baselines/grabcut.js';
import type { DataSet } from '../eval/data/dataset.js';
import { type EvaluatedObject, evaluateClicks } from '../eval/evaluate.js';
import { type Method, ModelMethod } from '../eval/method.js';
import { cocoPredictions, objectRow, type Summary, summarise } from '../eval/summary.js';
import { writeWhole } from '../files.js';
import { totalFlops } from '../graph/cost.js';
import { clickFlops, encoderGraph } from '../predictor/flops.js';
import type { HRSAM } from '../predictor/hrsam.js';
import type { EvalOptions } from './eval.js';
import { interruption } from './interrupt.js';
import type { describeModel } from './model.js';
import { formatMs, numbered, print, printable, table } from './output.js';
import { pictureFormat } from './picture_format.js';
import { statusLine } from './progress.js';

type Figures = Summary & {
  data: string;
  format: string;
  method: string;
  /** Pictures at work at a time: with more than one, times are those of a busy machine. */
  jobs: number;
  model?: ReturnType<typeof describeModel> & {
    size: number;
    refinements: number;
    minRegion: number;
    coarse?: number;
    zoom: boolean;
  };
};

interface Run {
  figures: Figures;
  objects: EvaluatedObject[];
}

/** Of each device. On a GPU most of a click's time is the simulated user's, on the CPU. */
export const DEFAULT_JOBS = { cpu: 1, cuda: 8 };

/** Runs one method at one size over the data, with a line of progress on stderr. */
export async function judge(
  data: DataSet,
  options: EvalOptions,
  subject: readonly [HRSAM, ...HRSAM[]] | 'box' | 'grabcut',
  model?: Figures['model'],
): Promise<Run> {
  const { clicks, box, limit, innerK, seed } = options;
  const method: Method =
    subject === 'box'
      ? new BoxBaseline()
      : subject === 'grabcut'
        ? new GrabCutBaseline()
        : new ModelMethod(subject, model);
  const sizes = model ? [model.size, ...(model.coarse === undefined ? [] : [model.coarse])] : [];
  const flops =
    typeof subject === 'string'
      ? {}
      : {
          image: total(sizes, (size) => totalFlops(encoderGraph(subject[0].config, [size, size]))),
          // Zoomed in on a part, each costs another.
          ...(!model?.zoom && { click: total(sizes, (size) => clickFlops(subject[0].config, size)) }),
        };
  const { jobs = typeof subject === 'string' ? 1 : DEFAULT_JOBS[subject[0].device.kind] * subject.length } =
    options;
  const line = statusLine(10_000);
  const label = model ? `${method.name} at ${model.size}` : method.name;
  const evaluation = await evaluateClicks(method, data, {
    clicks,
    box,
    limit,
    jobs,
    rule: { innerK, seed },
    signal: interruption(),
    onProgress: (done) => line.show(() => `${label}: ${progressText(done, limit)}`),
  }).finally(line.end);
  const figures = {
    data: options.data,
    format: data.format,
    method: method.name,
    jobs,
    model,
    ...summarise(evaluation, clicks, flops),
  };
  return { figures, objects: evaluation.objects };
}

/** How many objects a picture has is known once it is read: where they are limited, so are the pictures, to an unknown number. */
export function progressText(
  { masks, failed, pictures, of }: { masks: number; failed: number; pictures: number; of: number },
  limit?: number,
): string {
  const done =
    limit === undefined
      ? `${masks} masks, picture ${pictures} of ${of}`
      : `${masks} masks of at most ${limit}, picture ${pictures}`;
  return failed > 0 ? `${done}, ${failed} failed` : done;
}

const total = (sizes: readonly number[], flops: (size: number) => number): number =>
  sizes.reduce((sum, size) => sum + flops(size), 0);

/**
 * Figures and predictions, of those of the runs that are done; predictions of several are numbered.
 * @param count of all runs
 */
export async function writeResults(
  runs: readonly Run[],
  count: number,
  { output, predictions }: EvalOptions,
): Promise<void> {
  if (output) {
    const content = runs.map(({ figures, objects }) => ({ ...figures, objects: objects.map(objectRow) }));
    await writeWhole(output, `${JSON.stringify(runs.length === 1 ? content[0] : content)}\n`);
  }
  const last = runs.length - 1;
  if (predictions) {
    const content = JSON.stringify(cocoPredictions(runs[last]!.objects));
    await writeWhole(numbered(predictions, last, count), `${content}\n`);
  }
}

/** A sheet for each run; several are numbered. */
export async function writeSheets(runs: readonly Run[], data: DataSet, sheet: string): Promise<void> {
  const { renderSheet } = await import('../eval/sheet.js');
  const format = pictureFormat(sheet);
  for (const [i, { objects }] of runs.entries()) {
    if (objects.length === 0) continue;
    await writeWhole(numbered(sheet, i, runs.length), await renderSheet(objects, data, format));
  }
}

/** Curves of all runs in one picture. */
export async function writeCurves(runs: readonly Run[], clicks: number, path: string): Promise<void> {
  const { renderCurves } = await import('../eval/curves.js');
  const judged = runs
    .filter(({ objects }) => objects.length > 0)
    .map(({ figures, objects }) => ({ name: `${figures.model?.size ?? figures.method}`, objects }));
  await writeWhole(path, await renderCurves(judged, clicks));
}

const fixed = (value: number | undefined, digits: number): string =>
  value === undefined || Number.isNaN(value) ? '-' : value.toFixed(digits);

export function printRuns(runs: readonly Run[], data: DataSet): void {
  const counts = Object.keys(runs[0]!.figures.iouAtClicks);
  const thresholds = Object.keys(runs[0]!.figures.noc);
  const rows = runs.map(({ figures }) => [
    figures.model ? `${figures.method} at ${figures.model.size}` : figures.method,
    String(figures.masks),
    ...(figures.iouAtBox === undefined ? [] : [fixed(figures.iouAtBox, 3)]),
    ...counts.map((count) => fixed(figures.iouAtClicks[count], 3)),
    fixed(figures.boundaryIou, 3),
    ...thresholds.map((t) => `${fixed(figures.noc[t], 2)} (${figures.failures[t]})`),
  ]);
  const { iouAtBox, judgedAfter, failed } = runs[0]!.figures;
  const header = [
    'method',
    'masks',
    ...(iouAtBox === undefined ? [] : ['IoU box']),
    ...counts.map((count) => `IoU@${count}`),
    `BIoU@${judgedAfter}`,
    ...thresholds.map((t) => `NoC@${t} (missed)`),
  ];
  print(table(header, rows));
  for (const { figures } of runs) {
    const { flopsPerImage, flopsPerClick, msPerImage, msPerClick, pictures, model, jobs } = figures;
    const passes = model?.refinements ? `, first answers refined ${model.refinements} ×` : '';
    const coarse = model?.coarse === undefined ? '' : `, answers made at ${model.coarse} first`;
    const zoom = model?.zoom ? ', zoomed in' : '';
    const regions = model?.minRegion ? `, regions apart from ${model.minRegion} of the clicked one on` : '';
    const cost = (flops: number | undefined) => (flops ? ` (${(flops / 1e9).toFixed(1)} GFLOP)` : '');
    print(
      `${data.format}, ${pictures} pictures: ${formatMs(msPerImage)}${cost(flopsPerImage)} each, ` +
        `${formatMs(msPerClick)}${cost(flopsPerClick)} per click${passes}${coarse}${zoom}${regions}${jobs > 1 ? `, ${jobs} pictures at a time` : ''}`,
    );
  }
  for (const { entry, error } of failed.slice(0, 10))
    process.stderr.write(`left out ${printable(`${entry}: ${error}`)}\n`);
  if (failed.length > 10) process.stderr.write(`… and ${failed.length - 10} more\n`);
}
