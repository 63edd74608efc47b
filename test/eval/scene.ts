import type { DataSet, LabelledPicture } from '../../lib/eval/data/dataset.js';
import { type EvaluationOptions, evaluateClicks } from '../../lib/eval/evaluate.js';
import type { Method } from '../../lib/eval/method.js';
import type { Pixels } from '../../lib/image/pixels.js';
import { encodeRle, type Rle } from '../../lib/image/rle.js';

export const W = 64;
export const H = 48;
export type Inside = (x: number, y: number) => boolean;
export const disc =
  (cx: number, cy: number, r: number): Inside =>
  (x, y) =>
    (x - cx) ** 2 + (y - cy) ** 2 <= r * r;

export const maskOf = (inside: Inside, height = H, width = W): Rle =>
  encodeRle(
    Uint8Array.from({ length: height * width }, (_, i) => Number(inside(i % width, Math.floor(i / width)))),
    height,
    width,
  );

/** Red things on a green ground, with some noise. */
export function scene(inside: Inside): Pixels {
  const data = new Uint8Array(W * H * 3);
  for (let i = 0; i < W * H; i++) {
    const noise = ((i * 2654435761) >>> 27) - 16;
    const red = inside(i % W, Math.floor(i / W));
    data.set([red ? 190 + noise : 50 + noise, red ? 40 : 140 + noise, 60], 3 * i);
  }
  return { data, width: W, height: H, channels: 3 };
}

export const [small, large] = [disc(16, 24, 8), disc(44, 20, 13)];
export const labelled = (
  name: string,
  masks: Record<string, Rle>,
  picture = scene(small),
): LabelledPicture => ({
  name,
  read: async () => picture,
  objects: async () =>
    Object.entries(masks).map(([object, mask]) => ({ name: object, read: async () => ({ mask }) })),
});
export const set = (...pictures: LabelledPicture[]): DataSet => ({ format: 'test', pictures });

export const run = (method: Method, data: DataSet, options: EvaluationOptions = {}) =>
  evaluateClicks(method, data, options);
