import { HrsamError } from '../errors.js';
import type { Size } from '../image/resize.js';
import { scaleCoordinates } from '../image/resize.js';
import { LABEL } from '../model/prompt_encoder.js';
import { arrange, boxTokens, type PromptArrays, promptTokens } from './prompt_tokens.js';

/** One prompt: clicks, a box, an earlier mask, in any combination. Coordinates in pixels of the original picture. */
export interface Prompt {
  /** Clicks [x, y], 0 ≤ x ≤ width, 0 ≤ y ≤ height; 4096 at most. */
  points?: readonly (readonly [number, number])[];
  /** One per click: 1 object, 0 background, -1 no click at all (padding). Default: all 1. */
  labels?: readonly number[];
  /** [x0, y0, x1, y1], inside the picture, x0 ≤ x1 and y0 ≤ y1. */
  box?: readonly [number, number, number, number];
  /** Low-resolution logits of an earlier mask of the same picture (`mask.logits`). */
  mask?: MaskLogits;
}

const PROMPT_FIELDS: ReadonlySet<string> = new Set<keyof Prompt>(['points', 'labels', 'box', 'mask']);

/** Logits of a mask as the decoder gives them, at a quarter of the model's input. */
export interface MaskLogits {
  /** height · width values, row-major. In a prompt they are read until it is answered. */
  data: Float32Array;
  /** Rows of the logits: a quarter of the model's input. */
  height: number;
  /** Columns of the logits: a quarter of the model's input. */
  width: number;
}

const fail = (where: string, summary: string, expected: unknown, actual: unknown): never => {
  throw new HrsamError('ERR_PROMPT', summary, { where, expected, actual });
};

/** @throws HrsamError ERR_PROMPT for a field of another name */
export function checkFields(prompt: object, known: ReadonlySet<string>, where: string): void {
  const unknown = Object.keys(prompt).find((name) => !known.has(name));
  if (unknown !== undefined) fail(where, 'an unknown field', [...known].join(', '), unknown);
}

/** Of one prompt: each point looks at all others, time grows with their square, seconds for these. */
export const MOST_POINTS = 4096;

/**
 * @param where what errors name before a field, '' for nothing
 * @returns a copy, so that what the caller does to the prompt later changes no answer; of a mask's logits, the same data
 * @throws HrsamError ERR_PROMPT
 */
export function checkPrompt(prompt: Prompt, { height, width }: Size, where = 'prompt'): Prompt {
  if (!isObject(prompt)) fail(where, 'a prompt', '{ points, labels, box, mask }', prompt);
  checkFields(prompt, PROMPT_FIELDS, where);
  const { points, labels, box, mask } = prompt;
  const at = (name: string) => (where === '' ? name : `${where}.${name}`);
  const inside = (name: string, x: unknown, y: unknown) => {
    const good =
      typeof x === 'number' && typeof y === 'number' && x >= 0 && x <= width && y >= 0 && y <= height;
    if (!good) fail(at(name), 'not a place in the picture', `0 ≤ x ≤ ${width}, 0 ≤ y ≤ ${height}`, [x, y]);
  };
  const copy: { -readonly [field in keyof Prompt]: Prompt[field] } = {};
  if (points !== undefined) {
    if (!Array.isArray(points)) fail(at('points'), 'points', 'a list of [x, y]', points);
    if (points.length > MOST_POINTS)
      fail(at('points'), 'too many', `${MOST_POINTS} in one prompt at most`, points.length);
    copy.points = Array.from(points, (point, i) => {
      if (!Array.isArray(point) || point.length !== 2) fail(at(`points[${i}]`), 'a point', '[x, y]', point);
      const [x, y] = point;
      inside(`points[${i}]`, x, y);
      return [x, y];
    });
  }
  if (labels !== undefined) {
    const wanted = copy.points?.length ?? 0;
    if (!Array.isArray(labels) || labels.length !== wanted)
      fail(at('labels'), 'one label per point', wanted, labels);
    copy.labels = Array.from(labels, (label, i) => {
      if (label !== 0 && label !== 1 && label !== -1)
        fail(at(`labels[${i}]`), 'a label', '1, 0 or -1', label);
      return label;
    });
  }
  if (box !== undefined) {
    if (!Array.isArray(box) || box.length !== 4) fail(at('box'), 'a box', '[x0, y0, x1, y1]', box);
    const [x0, y0, x1, y1] = box;
    inside('box', x0, y0);
    inside('box', x1, y1);
    if (x0 > x1 || y0 > y1) fail(at('box'), 'its corners are swapped', 'x0 ≤ x1, y0 ≤ y1', box);
    copy.box = [x0, y0, x1, y1];
  }
  if (mask !== undefined) copy.mask = checkLogits(mask, at('mask'));
  if (!copy.points?.length && box === undefined && mask === undefined)
    fail(where, 'empty', 'points, a box or a mask', 'nothing');
  return copy;
}

/** Points of all prompts, each counted as long as the longest: 8 MB of coordinates. */
const MAX_POINTS = 2 ** 20;

/** @returns copies, as `checkPrompt` makes them. @throws HrsamError ERR_PROMPT */
export function checkPrompts(
  prompts: readonly Prompt[],
  picture: Size,
  where: (i: number) => string,
): Prompt[] {
  if (prompts.length === 0) throw new HrsamError('ERR_PROMPT', 'no prompts', { expected: 'at least one' });
  const longest = prompts.reduce((most, prompt) => Math.max(most, prompt?.points?.length ?? 1), 1);
  if (prompts.length * longest > MAX_POINTS)
    fail('prompts', 'too many', `${MAX_POINTS} points at most`, `${prompts.length} × ${longest}`);
  return Array.from(prompts, (prompt, i) => checkPrompt(prompt, picture, where(i)));
}

const isObject = (value: unknown): boolean => typeof value === 'object' && value !== null;

function checkLogits(mask: MaskLogits, where: string): MaskLogits {
  if (!isObject(mask)) fail(where, 'logits', '{ data, height, width }', mask);
  const { data, height, width } = mask;
  const whole = [height, width].every((side) => Number.isSafeInteger(side) && side > 0 && side % 4 === 0);
  if (!whole) fail(where, 'logits', 'sides that are multiples of 4', [height, width]);
  if (!(data instanceof Float32Array) || data.length !== height * width) {
    const actual = data instanceof Float32Array ? `${data.length} for ${height} × ${width}` : typeof data;
    fail(where, 'logits', 'a Float32Array of height · width values', actual);
  }
  if (!data.every(Number.isFinite)) fail(where, 'logits', 'finite values', 'NaN or infinity');
  return { data, height, width };
}

/** The tokens of prompts, in pixels of the model's input. */
export const layOutPrompts = (
  prompts: readonly Prompt[],
  original: Size,
  resized: Size,
  decoder: Parameters<typeof arrange>[1],
): PromptArrays => {
  const place = (xy: readonly number[]) => [...scaleCoordinates(xy, original, resized)] as [number, number];
  return arrange(
    prompts.map(({ points = [], labels, box }) => {
      const clicks = points.map((point, i) => {
        const [x, y] = place(point);
        return { x, y, label: labels?.[i] ?? LABEL.foreground };
      });
      const corners = box && boxTokens(...place(box.slice(0, 2)), ...place(box.slice(2)));
      return promptTokens(clicks.length > 0 ? clicks : undefined, corners);
    }),
    decoder,
  );
};
