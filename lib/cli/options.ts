import { type Command, InvalidArgumentError, Option } from 'commander';
import { readJson } from '../data/files.js';
import { PRECISIONS, type Precision } from '../model/layers.js';
import { MAX_REFINEMENTS } from '../weights/limits.js';
import { usageError } from './usage.js';

/** Options of every command that runs a model. */
export interface ModelOptions {
  weights?: string;
  config?: string;
  device: string;
  dtype: Precision;
  threads?: number;
}

/** Those of the commands that find masks in a picture. */
export interface PictureOptions extends ModelOptions {
  size?: number;
  output?: string;
  overlay?: string;
  rle?: string;
  json?: boolean;
}

/** A whole number of at least `least`, and no more than `most`. */
export const wholeNumber =
  (least: number, most?: number) =>
  (text: string): number => {
    const value = Number(text);
    const inRange = value >= least && value <= (most ?? Number.MAX_SAFE_INTEGER);
    if (/^\d+$/.test(text) && inRange) return value;
    throw new InvalidArgumentError(
      `Expected a whole number from ${least}${most === undefined ? '' : ` to ${most}`}.`,
    );
  };

export const refineOption = (): Option =>
  new Option(
    '--refine <n>',
    'times a first answer goes back as its prompt’s mask before it is given (default: the weights’)',
  ).argParser(wholeNumber(0, MAX_REFINEMENTS));

export const minRegionOption = (): Option =>
  new Option(
    '--min-region <share>',
    'leave out regions apart from the clicks, smaller than this share of the largest clicked one; 0: none (default: the weights’)',
  ).argParser(share);

export const coarseOption = (): Option =>
  new Option('--no-coarse', 'answer at full size only, without the first pass at the model’s own size');

export const zoomOption = (): Option =>
  new Option(
    '--zoom',
    'make each answer again on the part of the picture around it: better for what is small, and slower',
  );

/** A number from 0 to 1. */
export function share(text: string): number {
  const value = text.trim() === '' ? Number.NaN : Number(text);
  if (value >= 0 && value <= 1) return value;
  throw new InvalidArgumentError('Expected a number from 0 to 1.');
}

const numbers = (text: string, counts: readonly number[], form: string): number[] => {
  const parts = text.split(',').map((part) => (part.trim() === '' ? Number.NaN : Number(part)));
  if (counts.includes(parts.length) && parts.every(Number.isFinite)) return parts;
  throw new InvalidArgumentError(`Expected ${form}, in pixels.`);
};

export interface PointOption {
  x: number;
  y: number;
  label: 0 | 1;
}

/** `x,y` or `x,y,label`, collected. */
export function collectPoint(text: string, previous: readonly PointOption[] = []): PointOption[] {
  const [x, y, label = 1] = numbers(text, [2, 3], 'x,y or x,y,label') as [number, number, number?];
  if (label !== 0 && label !== 1) {
    throw new InvalidArgumentError('The label is 1 (object) or 0 (background).');
  }
  return [...previous, { x, y, label }];
}

export type BoxOption = [number, number, number, number];

/** `x0,y0,x1,y1`, collected. */
export const collectBox = (text: string, previous: readonly BoxOption[] = []): BoxOption[] => [
  ...previous,
  numbers(text, [4], 'x0,y0,x1,y1') as BoxOption,
];

/** `HxW` or one number for a square. */
export function heightAndWidth(text: string): [number, number] {
  const match = /^(\d{1,6})(?:x(\d{1,6}))?$/i.exec(text);
  if (!match) throw new InvalidArgumentError('Expected HEIGHTxWIDTH, like 1024x1024.');
  return [Number(match[1]), Number(match[2] ?? match[1])];
}

/** @param dtype what is computed in unless asked otherwise; absent: the command's own choice */
export function addDeviceOptions(command: Command, dtype?: 'f32'): Command {
  const type = new Option('--dtype <type>', 'arithmetic; fp8: on Hopper GPUs').choices(PRECISIONS);
  return command
    .option('-d, --device <name>', 'cpu, cuda, cuda:N or auto', 'auto')
    .addOption(dtype ? type.default(dtype) : type)
    .option('--threads <n>', 'CPU threads (default: all)', wholeNumber(1));
}

export const addWeightsOptions = (command: Command, none = 'the model included'): Command =>
  command
    .option(
      '-w, --weights <file>',
      `.safetensors, .pth or .pt, or random:<preset> (untrained); default: ${none}`,
    )
    .option('--config <json>', "the model's settings, where the weights do not tell them");

/** Of a command that takes them as its argument, too. */
export function weightsOf(argument: string | undefined, { weights }: Pick<ModelOptions, 'weights'>) {
  if (argument !== undefined && weights !== undefined)
    usageError('give the weights once: as argument or with -w');
  return argument ?? weights;
}

export const sizeOption = (): Option =>
  new Option('--size <pixels>', 'longest side a picture is brought to (default: the weights’)').argParser(
    wholeNumber(1),
  );

/** How masks are told besides as pictures. */
export const addMaskOptions = (command: Command): Command =>
  command.option('--rle <json>', 'masks as COCO run lengths').option('--json', 'print results as JSON');

export const addModelOptions = (command: Command): Command =>
  addDeviceOptions(addWeightsOptions(command), 'f32');

export const readConfig = async ({ config }: Pick<ModelOptions, 'config'>): Promise<unknown> =>
  config === undefined ? undefined : readJson(config, 'ERR_CONFIG');
