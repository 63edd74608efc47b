import { HrsamError } from '../errors.js';
import type { Size } from '../image/resize.js';
import type { Box } from '../image/rle.js';
import { checkCallback, optionsOf } from '../options.js';
import { Owned } from '../runtime/owned.js';
import { type DecoderInput, decodePrompts, promptsPerRun } from './decode.js';
import { EVERYTHING, type EverythingOptions } from './everything_options.js';
import type { Mask } from './mask.js';
import type { Network } from './network.js';

/** What `everything` found at one place. */
export interface FoundMask {
  /** At the picture's own size. */
  mask: Mask;
  /** How little it changes when its threshold moves by one logit, 0 to 1, at the decoder's resolution. */
  stability: number;
  /** The click that found it, in pixels of the picture. */
  point: readonly [number, number];
}

/** A mask that stays, before it is made in the picture's size. */
export interface Candidate {
  point: readonly [number, number];
  /** Which of the decoder's masks. */
  index: number;
  score: number;
  stability: number;
  box: Box;
}

/** The candidates that stay, best first. @throws HrsamError ERR_ARGUMENT, ERR_ABORTED */
export async function findCandidates(
  network: Network,
  image: DecoderInput & { original: Size; input: Size },
  options: EverythingOptions,
): Promise<Candidate[]> {
  const { pointsPerSide, minScore, minStability, maxOverlap } = checked(options);
  const points = grid(pointsPerSide, image.original);
  const { input, resized } = image;
  const run = promptsPerRun(network, image.embedding);
  const found: Candidate[] = [];
  for (let first = 0; first < points.length; first += run) {
    using owned = new Owned();
    const clicks = points.slice(first, first + run);
    const prompts = clicks.map((point) => ({ points: [point] }));
    const { logits, ious, masksPerPrompt } = await decodePrompts(network, image, prompts, owned, {
      signal: options.signal,
    });
    const [, , height, width] = logits.shape as [number, number, number, number];
    // The rest is padding of the model's input.
    const size = [
      Math.ceil((resized.height * height) / input.height),
      Math.ceil((resized.width * width) / input.width),
    ] as const;
    const summary = owned.add(await network.summary(logits, size, options.signal));
    const numbers = (await summary.data()) as Float32Array;
    ious.forEach((score, i) => {
      const index = i % masksPerPrompt;
      // Mask 0 is for prompts that leave no doubt; a model without alternatives has no other.
      if ((index === 0 && masksPerPrompt > 1) || score < minScore) return;
      const number = (k: number): number => numbers[6 * i + k]!;
      const stability = number(0) / number(1);
      const box: Box = [number(2), number(3), number(4), number(5)];
      const point = clicks[Math.floor(i / masksPerPrompt)]!;
      if (box[3] > 0 && stability >= minStability) found.push({ point, index, score, stability, box });
    });
    options.onProgress?.(first + clicks.length, points.length);
  }
  return nonMaximumSuppression(found, maxOverlap);
}

const checkOptions = optionsOf<EverythingOptions>({
  pointsPerSide: true,
  minScore: true,
  minStability: true,
  maxOverlap: true,
  signal: true,
  onProgress: true,
});

function checked(options: EverythingOptions): Record<keyof typeof EVERYTHING, number> {
  checkOptions(options, 'everything');
  checkCallback(options.onProgress, 'onProgress');
  const entries = Object.entries(EVERYTHING).map(([name, { min, max, default: usual }]) => {
    const value: unknown = options[name as keyof typeof EVERYTHING] ?? usual;
    const whole = name !== 'pointsPerSide' || Number.isInteger(value);
    if (typeof value !== 'number' || !whole || !(value >= min && value <= max)) {
      const expected = `a ${name === 'pointsPerSide' ? 'whole ' : ''}number from ${min} to ${max}`;
      throw new HrsamError('ERR_ARGUMENT', name, { expected, actual: value });
    }
    return [name, value];
  });
  return Object.fromEntries(entries);
}

/** The centres of n × n equal parts of the picture, row by row. */
export function grid(n: number, { width, height }: Size): [number, number][] {
  return Array.from({ length: n * n }, (_, i) => [
    (((i % n) + 0.5) / n) * width,
    ((Math.floor(i / n) + 0.5) / n) * height,
  ]);
}

/** Greedy non-maximum suppression by boxes, the best score first; of equal ones the earlier. */
export function nonMaximumSuppression(candidates: readonly Candidate[], most: number): Candidate[] {
  const kept: Candidate[] = [];
  for (const candidate of candidates.toSorted((a, b) => b.score - a.score))
    if (kept.every(({ box }) => boxIou(box, candidate.box) <= most)) kept.push(candidate);
  return kept;
}

function boxIou(a: Box, b: Box): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0]);
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1]);
  if (width <= 0 || height <= 0) return 0;
  const area = ([x0, y0, x1, y1]: Box) => (x1 - x0) * (y1 - y0);
  return (width * height) / (area(a) + area(b) - width * height);
}
