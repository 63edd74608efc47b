import type { Rng } from '../../rng.js';
import type { LabelledObject } from './source.js';

/** Part of a picture, in whole pixels. */
export interface Crop {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface CropRules {
  /** Share of the object that stays inside, at least. */
  keep: number;
  /** Share of the crop that is the object, at least and at most. */
  area: readonly [number, number];
  /** Shortest side in pixels. */
  minSide: number;
}

const ATTEMPTS = 12;

/** About as many pixels are looked at along each side, to count. */
const PROBES = 48;

export const wholePicture = ({ pixels }: LabelledObject): Crop => ({
  x: 0,
  y: 0,
  width: pixels.width,
  height: pixels.height,
});

/** A random part that follows the rules; the whole picture when none is found. */
export function randomCrop(draws: Rng, object: LabelledObject, rules: CropRules): Crop {
  const { width, height } = object.pixels;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    const scale = draws.uniform(0.15, 1);
    const aspect = draws.uniform(0.75, 1.33);
    const side = Math.min(width, height) * scale;
    const crop = placed(
      draws,
      object,
      Math.min(width, Math.max(rules.minSide, Math.round(side * aspect))),
      Math.min(height, Math.max(rules.minSide, Math.round(side / aspect))),
    );
    const inside = areaInside(object, crop);
    const share = inside / (crop.width * crop.height);
    if (inside >= rules.keep * object.area && share >= rules.area[0] && share <= rules.area[1]) return crop;
  }
  return wholePicture(object);
}

/**
 * A random part of `side` x `side` pixels with its middle within the object's box; undefined where the picture is smaller
 * or too little of the object would be inside.
 */
export function squareCrop(draws: Rng, object: LabelledObject, side: number, keep: number): Crop | undefined {
  const { width, height } = object.pixels;
  if (side > Math.min(width, height)) return undefined;
  const crop = placed(draws, object, side, side);
  return areaInside(object, crop) >= keep * object.area ? crop : undefined;
}

/** A part of that size, its middle within the object's box as far as the picture reaches. */
function placed(draws: Rng, { box, pixels }: LabelledObject, width: number, height: number): Crop {
  const [x0, y0, x1, y1] = box;
  const place = (low: number, high: number, length: number, limit: number) =>
    Math.min(limit - length, Math.max(0, Math.round(draws.uniform(low, high) - length / 2)));
  const x = place(x0, x1, width, pixels.width);
  return { x, y: place(y0, y1, height, pixels.height), width, height };
}

/** Pixels of the object inside the crop, from a grid of probes. */
function areaInside({ mask, pixels }: LabelledObject, crop: Crop): number {
  const stepX = Math.max(1, Math.floor(crop.width / PROBES));
  const stepY = Math.max(1, Math.floor(crop.height / PROBES));
  let set = 0;
  let seen = 0;
  for (let y = crop.y; y < crop.y + crop.height; y += stepY) {
    const row = y * pixels.width;
    for (let x = crop.x; x < crop.x + crop.width; x += stepX) {
      seen++;
      if (mask[row + x] !== 0) set++;
    }
  }
  return (set / seen) * crop.width * crop.height;
}
