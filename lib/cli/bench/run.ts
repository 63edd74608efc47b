import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { HrsamError } from '../../errors.js';
import { writeWhole } from '../../files.js';
import { openModel } from '../../predictor/load.js';
import { Device } from '../../runtime/device.js';
import { configToMetadata } from '../../weights/config.js';
import { randomName, randomPreset } from '../../weights/random_name.js';
import { writeSafetensors } from '../../weights/safetensors_writer.js';
import { shippedWeights } from '../../weights/shipped.js';
import type { BenchOptions } from '../bench.js';
import { interruption, throwIfInterrupted } from '../interrupt.js';
import { readConfig } from '../options.js';
import { checkOutputs, formatBytes, formatMs, print, printJson, table } from '../output.js';
import { progressBar } from '../progress.js';
import { type BenchDocument, benchDocument, processor } from './document.js';
import type { BenchRow } from './measure.js';
import type { Part } from './parts.js';

/** Without -w: the two published encoders, untrained, which cost the same, and the model included; with --full SAM's smallest as well. */
const PRESETS = ['hrsam-b', 'hrsam++-b'] as const;
const SAM = 'sam-vit-b';
const INCLUDED = 'hrsam-s';

/** Of --full on a GPU, and the most pixels of a batch together. */
const BATCHES = [1, 4, 16];
const BATCH_PIXELS = 16 * 1024 ** 2;
/** Of encoders' images, unless --size says otherwise. */
const SIZE = 1024;
/** Its absolute positions fit no other side. */
const SAM_SIZE = 1024;

/** Models whose training is measured. */
const TRAINED = ['small', 'hrsam-b'] as const;

/** Measures the wanted groups, each in a process of its own, and prints the table. What fails ends the command, after the others. */
export async function runBench(options: BenchOptions): Promise<void> {
  // The parts get the device that `auto` means, so that one sentence says which.
  const device = Device.open(options.device);
  const dtypes = options.dtype ? [options.dtype] : (['f32', 'bf16'] as const);
  const ofEncoders = ['weights', 'size', 'batch'] as const;
  const named = options.dtype === 'fp8' ? 'fp8' : ofEncoders.find((name) => options[name] !== undefined);
  if (named !== undefined && !options.only.includes('encoder'))
    throw new HrsamError('ERR_ARGUMENT', named, { expected: '--only encoder', actual: options.only });
  const { output } = options;
  await checkOutputs([output]);
  const folder = await mkdtemp(join(tmpdir(), 'hrsam-bench-'));
  let rows: BenchRow[] = output === undefined ? [] : await earlierRows(output);
  let failure: unknown;
  try {
    const common = { device: device.name, threads: options.threads };
    const parts: Part[] = [];
    for (const group of options.only) {
      if (group === 'encoder') continue;
      for (const dtype of dtypes) {
        if (dtype === 'fp8') continue;
        if (group === 'train') {
          for (const model of TRAINED) parts.push({ group, model, dtype, ...common });
          // What a call costs does not depend on the type.
        } else if (group !== 'call' || dtype === dtypes[0]) parts.push({ group, dtype, ...common });
      }
    }
    if (options.only.includes('encoder')) {
      for (const model of await models(options, folder)) {
        for (const { size, batch } of encoderRuns(options, model, device))
          for (const dtype of dtypes)
            parts.push({ group: 'encoder', ...model, ...common, dtype, size, batch });
      }
    }
    const bar = await progressBar('measuring');
    const earlier = rows;
    for (const [i, part] of parts.entries()) {
      bar.update(i, parts.length);
      if (earlier.some((row) => isOf(row, part))) continue;
      try {
        const measured = await measureApart(part);
        rows = [...rows.filter((row) => !measured.some((other) => same(row, other))), ...measured];
        if (output !== undefined) {
          const document = benchDocument(device, rows, options.threads);
          await writeWhole(output, `${JSON.stringify(document, null, 2)}\n`);
        }
      } catch (error) {
        throwIfInterrupted();
        failure ??= error;
      }
    }
    bar.end();
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
  if (options.json) printJson(benchDocument(device, rows, options.threads));
  else show(rows);
  if (failure) throw failure;
}

const same = (a: BenchRow, b: BenchRow): boolean =>
  (['what', 'dtype', 'size', 'batch'] as const).every((key) => a[key] === b[key]);

/** The rows of a document that this run has begun. */
async function earlierRows(path: string): Promise<BenchRow[]> {
  const run = process.env.HRSAM_BENCH_RUN;
  const document = await readFile(path, 'utf8')
    .then((text) => JSON.parse(text) as Partial<BenchDocument>)
    .catch(() => undefined); // there is none, or it is something else
  return run !== undefined && document?.run === run ? (document.rows ?? []) : [];
}

/** Whether a row is the first one of an encoder's part, or of training's: what a run that goes on need not measure again. */
function isOf({ what, dtype, size, batch }: BenchRow, part: Part): boolean {
  if (part.group === 'train') return what === `${part.model} training step` && dtype === part.dtype;
  if (part.group !== 'encoder') return false;
  const label = `${part.size} x ${part.size}`;
  return what === `${part.name} encoder` && dtype === part.dtype && size === label && batch === part.batch;
}

/** At what sizes and in what batches an encoder is measured. */
function encoderRuns(
  options: BenchOptions,
  { name }: BenchModel,
  device: Device,
): { size: number; batch: number }[] {
  // Coarse to fine begins above its own size.
  const factors = options.full ? [0.5, 1, 2, 4] : name === INCLUDED ? [1, 2] : [1];
  const { size: side = SIZE, batch = 1 } = options;
  const sizes = name === SAM ? [SAM_SIZE] : factors.map((factor) => factor * side);
  if (device.kind === 'cpu' || !options.full) return sizes.map((size) => ({ size, batch }));
  return sizes
    .flatMap((size) => BATCHES.map((batch) => ({ size, batch })))
    .filter(({ size, batch }) => batch === 1 || batch * size ** 2 <= BATCH_PIXELS);
}

interface BenchModel {
  name: string;
  weights: string;
  config?: unknown;
}

/** The models to measure. Random weights go into a file first: mapped as a user's, they cost the memory that those cost. */
async function models(options: BenchOptions, folder: string): Promise<BenchModel[]> {
  const presets = options.full ? [...PRESETS, SAM] : PRESETS;
  const named = options.weights ? [options.weights] : [...presets.map(randomName), shippedWeights()];
  const config = await readConfig(options);
  const made: BenchModel[] = [];
  for (const weights of named) {
    const preset = randomPreset(weights);
    if (preset === undefined) {
      made.push({ name: weights === shippedWeights() ? INCLUDED : basename(weights), weights, config });
      continue;
    }
    const path = join(folder, `${preset}.safetensors`);
    await using checkpoint = await openModel(weights);
    const bar = await progressBar(`making ${preset}`);
    const tensors = [...checkpoint.tensors.values()].map((entry) => ({
      name: entry.officialName,
      dtype: entry.dtype,
      shape: entry.shape,
      data: () => entry.read(),
    }));
    await writeSafetensors(path, tensors, {
      metadata: [configToMetadata(checkpoint.config)],
      onProgress: ({ bytes, totalBytes }) => bar.update(bytes, totalBytes),
    }).finally(() => bar.end());
    made.push({ name: preset, weights: path });
  }
  return made;
}

/** Runs a part in a child process. @throws HrsamError ERR_INTERNAL when that fails; its own words are on stderr */
async function measureApart(part: Part): Promise<BenchRow[]> {
  throwIfInterrupted();
  const child = spawn(process.execPath, [process.argv[1]!, 'bench', '--part', JSON.stringify(part)], {
    stdio: ['ignore', 'pipe', 'inherit'],
    signal: interruption(),
    // Ctrl-C goes to this process alone, which then ends the child.
    detached: true,
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output += text;
  });
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject).on('close', resolve);
  });
  if (code !== 0) {
    throw new HrsamError('ERR_INTERNAL', `the process that measured ${part.group} ended with ${code}`);
  }
  return JSON.parse(output) as BenchRow[];
}

function show(rows: readonly BenchRow[]): void {
  const percent = (value: number | undefined) => (value === undefined ? '' : `${(100 * value).toFixed(0)} %`);
  const cells = rows.map((row) => [
    row.what,
    row.device,
    row.dtype,
    row.size,
    String(row.batch),
    formatMs(row.median),
    row.p90 === undefined ? '' : formatMs(row.p90),
    row.p99 === undefined ? '' : formatMs(row.p99),
    percent(row.spread),
    row.gflops?.toFixed(0) ?? '',
    row.peak?.toFixed(0) ?? '',
    row.gbps?.toFixed(0) ?? '',
    percent(row.share),
    row.memory === undefined ? '' : formatBytes(row.memory),
    row.note ?? '',
  ]);
  const header = [
    'what',
    'device',
    'type',
    'size',
    'batch',
    'median',
    'p90',
    'p99',
    'spread',
    'GFLOP/s',
    'peak',
    'GB/s',
    'share',
    'memory',
    '',
  ];
  print(table(header, cells, [0, 1, 2, 3, 14]));
  print(
    `\n${processor()}, Node ${process.version}. Median of at least 3 runs, on a GPU 10; spread is (max − min) / median;`,
  );
  print(
    'peak is multiply-adds that wait for nothing, measured around the runs, in GFLOP/s; share is of it, or of the memory’s GB/s.',
  );
}
