import type { HRSAM } from '../predictor/hrsam.js';
import type { Device } from '../runtime/device.js';
import { Owned } from '../runtime/owned.js';
import { randomPreset } from '../weights/random_name.js';
import { type ModelOptions, readConfig } from './options.js';
import { warn } from './output.js';
import { progressBar } from './progress.js';

/** The model that the common options name, its weights read with a progress bar. */
export async function loadModel(options: ModelOptions): Promise<HRSAM> {
  const model = await load(options, options.device);
  warnUntrained(options);
  return model;
}

async function load(options: ModelOptions, device: string | Device): Promise<HRSAM> {
  const { weights, dtype, threads } = options;
  const config = await readConfig(options);
  const { HRSAM } = await import('../predictor/hrsam.js');
  const bar = await progressBar('reading weights');
  try {
    return await HRSAM.load(weights, { device, dtype, threads, config, onProgress: bar.update });
  } finally {
    bar.end();
  }
}

/** One's weights on several devices. */
export interface Models extends Disposable {
  all: [HRSAM, ...HRSAM[]];
  /** Names of the devices. */
  device: string;
}

/** The model that the common options name on each device of a list like cuda:0,cuda:1. */
export async function loadModels(options: ModelOptions): Promise<Models> {
  const { openDevices } = await import('./devices.js');
  using owned = new Owned();
  const add = async (device: Device) => owned.add(await load(options, device));
  const [first, ...others] = openDevices(options.device);
  const all: Models['all'] = [await add(first)];
  for (const device of others) all.push(await add(device));
  warnUntrained(options);
  const kept = owned.move();
  const device = all.map((model) => model.device.name).join();
  return { all, device, [Symbol.dispose]: () => kept[Symbol.dispose]() };
}

const isUntrained = (weights?: string): boolean =>
  weights !== undefined && randomPreset(weights) !== undefined;

function warnUntrained({ weights }: ModelOptions): void {
  if (isUntrained(weights)) warn(`${weights} is untrained: its masks mean nothing`);
}

/** What results say about the model that made them. */
export const describeModel = (model: HRSAM, options: ModelOptions) => ({
  weights: options.weights ?? 'included',
  trained: !isUntrained(options.weights),
  family: model.config.family,
  device: model.device.name,
  dtype: options.dtype,
});

/** Milliseconds by step. */
export class Stopwatch {
  readonly ms: Record<string, number> = {};

  async time<T>(step: string, work: () => Promise<T>): Promise<T> {
    const begin = performance.now();
    const result = await work();
    this.ms[step] = Math.round((performance.now() - begin) * 100) / 100;
    return result;
  }
}
