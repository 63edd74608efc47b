import { HrsamError } from '../errors.js';
import type { Size } from '../image/resize.js';
import { LABEL } from '../model/prompt_encoder.js';
import type { DecodedPrompts } from './decode.js';
import type { PictureSizes } from './network.js';
import type { Prompt } from './prompts.js';

/** @throws HrsamError ERR_ARGUMENT */
export function checkMinRegion(share: unknown): void {
  if (share === undefined) return;
  if (typeof share === 'number' && share >= 0 && share <= 1) return;
  throw new HrsamError('ERR_ARGUMENT', 'minRegion', { expected: 'a number from 0 to 1', actual: share });
}

/** Of the first mask of each prompt, `dropRegions`. The logits are written anew where it took something off. */
export async function keepClicked(
  { logits, masksPerPrompt }: DecodedPrompts,
  prompts: readonly Prompt[],
  { original, padded = original, resized, input }: PictureSizes,
  share: number,
): Promise<void> {
  const [, , rows, columns] = logits.shape as [number, number, number, number];
  // Logits to a pixel of the picture.
  const x = (resized.width / padded.width) * (columns / input.width);
  const y = (resized.height / padded.height) * (rows / input.height);
  const height = cellsOf((original.height * resized.height) / padded.height, rows / input.height, rows);
  const width = cellsOf((original.width * resized.width) / padded.width, columns / input.width, columns);
  const clicks = prompts.map(({ points = [], labels }) =>
    points
      .filter((_, i) => (labels?.[i] ?? LABEL.foreground) === LABEL.foreground)
      .flatMap(([px, py]) =>
        around(py * y, height).flatMap((cy) => around(px * x, width).map((cx) => [cx, cy] as const)),
      ),
  );
  if (clicks.every(({ length }) => length === 0)) return;
  const data = ((await logits.data()) as Float32Array).slice();
  const dropped = clicks.map((cells, p) => {
    const at = p * masksPerPrompt * rows * columns;
    return dropRegions(data.subarray(at, at + rows * columns), columns, { height, width }, cells, share);
  });
  if (dropped.some(Boolean)) logits.write(data);
}

/** Cells that so many pixels of the input are made of: the last one's center may be nearer to padding than to their own last. */
function cellsOf(pixels: number, scale: number, most: number): number {
  const before = Math.floor((Math.ceil(pixels) - 0.5) * scale - 0.5);
  return Math.min(most, before + 2);
}

/** The two of so many cells that a place is between: where the mask is at a click, one of the four around it is, too. */
function around(place: number, count: number): number[] {
  const before = Math.floor(place - 0.5);
  return [before, before + 1].map((cell) => Math.min(count - 1, Math.max(0, cell)));
}

/** A stretch of a row that is mask, and the region that it is part of. */
interface Run {
  begin: number;
  end: number;
  /** Another one of its region, or itself; the root has the region's `area`. */
  parent: Run;
  area: number;
}

/**
 * Takes off a mask what lies apart from its clicks: connected regions without a click on the object and smaller than a share
 * of the largest region with one. By corners they are connected where the picture's mask is, which is interpolated. Their
 * logits change sign. A mask without a click on it stays as it is.
 * @param logits of one mask, `stride` a row: changed in place
 * @param size rows and columns that are picture, the first ones; all else stays
 * @param clicks on the object, in cells [x, y]
 * @returns whether anything was taken off
 */
export function dropRegions(
  logits: Float32Array,
  stride: number,
  { height, width }: Size,
  clicks: readonly (readonly [number, number])[],
  share: number,
): boolean {
  if (clicks.length === 0) return false;
  const rows: Run[][] = [];
  for (let y = 0; y < height; y++) {
    const at = (x: number) => logits[y * stride + x]!;
    const above = (x: number) => logits[(y - 1) * stride + x]!;
    const row = runsOf(logits.subarray(y * stride, y * stride + width));
    // Between four cells, the mask of two of them is connected where these weigh more than the others.
    if (y > 0) joinRows(rows[y - 1]!, row, (a, b) => above(a) * at(b) > above(b) * at(a));
    rows.push(row);
  }
  const clicked = new Set<Run>();
  for (const [x, y] of clicks) {
    const run = rows[y]?.find(({ begin, end }) => begin <= x && x < end);
    if (run) clicked.add(root(run));
  }
  if (clicked.size === 0) return false;
  const least = share * Math.max(...[...clicked].map(({ area }) => area));
  let dropped = false;
  for (const [y, row] of rows.entries())
    for (const run of row) {
      const region = root(run);
      if (clicked.has(region) || region.area >= least) continue;
      for (let i = y * stride + run.begin; i < y * stride + run.end; i++) logits[i] = -logits[i]!;
      dropped = true;
    }
  return dropped;
}

function runsOf(row: Float32Array): Run[] {
  const runs: Run[] = [];
  for (let x = 0; x < row.length; x++) {
    if (!(row[x]! > 0)) continue;
    const begin = x;
    while (x < row.length && row[x]! > 0) x++;
    const run = { begin, end: x, area: x - begin } as Run;
    run.parent = run;
    runs.push(run);
  }
  return runs;
}

function root(run: Run): Run {
  while (run.parent !== run) {
    run.parent = run.parent.parent;
    run = run.parent;
  }
  return run;
}

/**
 * Runs that touch are of one region; by corners alone where what is interpolated between them is mask.
 * @param joined of two cells in columns beside each other, of the row above and of that below
 */
function joinRows(
  above: readonly Run[],
  below: readonly Run[],
  joined: (above: number, below: number) => boolean,
): void {
  let i = 0;
  for (const run of below) {
    while (i < above.length && above[i]!.end < run.begin) i++;
    // The last one that touches this run may touch the next one, too.
    for (let k = i; k < above.length && above[k]!.begin <= run.end; k++) {
      const { begin, end } = above[k]!;
      if (end === run.begin && !joined(end - 1, run.begin)) continue;
      if (begin === run.end && !joined(begin, run.end - 1)) continue;
      const [one, other] = [root(above[k]!), root(run)];
      if (one === other) continue;
      other.parent = one;
      one.area += other.area;
    }
  }
}
