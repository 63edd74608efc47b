import { allOf } from '../all_of.js';
import { HrsamError } from '../errors.js';
import { LABEL } from '../model/prompt_encoder.js';
import type { DecodedPrompts } from './decode.js';
import { logitsPerPixel, type PictureSizes } from './network.js';
import type { Prompt } from './prompts.js';

/** @throws HrsamError ERR_ARGUMENT */
export function checkMinRegion(share: unknown): void {
  if (share === undefined) return;
  if (typeof share === 'number' && share >= 0 && share <= 1) return;
  throw new HrsamError('ERR_ARGUMENT', 'minRegion', { expected: 'a number from 0 to 1', actual: share });
}

/** Takes off the first mask of each prompt what lies apart from its clicks: `dropRegions` of the device. */
export async function keepClicked(
  { logits, masksPerPrompt }: DecodedPrompts,
  prompts: readonly Prompt[],
  sizes: PictureSizes,
  share: number,
): Promise<void> {
  const { original, padded = original, resized, input } = sizes;
  const [, , rows, columns] = logits.shape as [number, number, number, number];
  const { x, y } = logitsPerPixel(sizes, { height: rows, width: columns });
  const height = cellsOf((original.height * resized.height) / padded.height, rows / input.height, rows);
  const width = cellsOf((original.width * resized.width) / padded.width, columns / input.width, columns);
  const clicks = prompts.map(({ points = [], labels }) =>
    points
      .filter((_, i) => (labels?.[i] ?? LABEL.foreground) === LABEL.foreground)
      .flatMap(([px, py]) =>
        around(py * y, height).flatMap((cy) => around(px * x, width).map((cx) => [cx, cy] as const)),
      ),
  );
  await allOf(
    clicks.map(async (cells, p) => {
      if (cells.length > 0)
        await logits.device.dropRegions(logits, p * masksPerPrompt, { height, width }, cells, share);
    }),
  );
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
