import type { Draws } from '../../draws.js';
import { longestSide } from '../../image/resize.js';
import type { NativeSampleLayer, NativeSampleSpec } from '../../runtime/addon.js';
import { type ColourJitter, jitter, UNCHANGED } from './colour.js';
import { type Crop, type CropRules, randomCrop, wholePicture } from './crop.js';
import type { LabelledObject } from './source.js';

/** Probabilities and strengths; see `augmentation` for what is usual. */
export interface Augmentation {
  /** Of a random part instead of the whole picture. */
  crop: number;
  cropKeep: number;
  cropArea: readonly [number, number];
  /** Of mirroring, left and right. */
  flip: number;
  /** Of other colours, and how far they go. */
  colour: number;
  jitter: ColourJitter;
  /** Of a picture without colour. */
  grey: number;
  blur: number;
  noise: number;
  /** Of an object of another picture laid over this one, and then of another over both, up to `MOST_PASTED`. */
  paste: number;
}

export const augmentation: Augmentation = {
  crop: 0.7,
  cropKeep: 0.6,
  cropArea: [0.005, 0.85],
  flip: 0.5,
  colour: 0.8,
  jitter: { brightness: 0.3, contrast: 0.3, saturation: 0.4, hue: 0.08 },
  grey: 0.04,
  blur: 0.08,
  noise: 0.2,
  paste: 0.2,
};

/** Pictures as they are, resized by the protocol. */
export const noAugmentation: Augmentation = {
  ...augmentation,
  crop: 0,
  flip: 0,
  colour: 0,
  grey: 0,
  blur: 0,
  noise: 0,
  paste: 0,
};

/** Smaller crops than a third of the sample's side would only be blurred. */
const SMALLEST_CROP = 1 / 3;

export const MOST_PASTED = 3;

/** How one object becomes a sample of side `size`, with what is pasted over it, one after the other. */
export function plan(
  draws: Draws,
  size: number,
  rules: Augmentation,
  object: LabelledObject,
  pasted: readonly LabelledObject[],
): NativeSampleSpec {
  const cropRules: CropRules = {
    keep: rules.cropKeep,
    area: rules.cropArea,
    minSide: Math.max(1, Math.round(size * SMALLEST_CROP)),
  };
  const crop = draws.chance(rules.crop) ? randomCrop(draws, object, cropRules) : wholePicture(object);
  const shown = longestSide(crop.height, crop.width, size);
  const grey = draws.chance(rules.grey);
  const colours = () =>
    draws.chance(rules.colour) || grey ? jitter(draws, rules.jitter, grey) : [...UNCHANGED];
  const layers = [cropped(object, crop, shown.width, shown.height, draws.chance(rules.flip), colours())];
  for (const other of pasted)
    layers.push(placed(draws, other, shown.width, shown.height, draws.chance(rules.flip), colours()));
  const target = draws.below(layers.length);
  return {
    size,
    width: shown.width,
    height: shown.height,
    layers,
    target,
    others: target === 0 ? object.others : [object.mask, ...object.others],
    feather: pasted.length > 0 && draws.chance(0.5) ? 1 : 0,
    shadow: pasted.length > 0 && draws.chance(0.5) ? draws.below(160) : 0,
    blur: draws.chance(rules.blur) ? 1 : 0,
    noise: draws.chance(rules.noise) ? 1 + draws.below(12) : 0,
    seed: draws.below(2 ** 31),
  };
}

function cropped(
  { pixels, mask }: LabelledObject,
  crop: Crop,
  width: number,
  height: number,
  flip: boolean,
  colour: number[],
): NativeSampleLayer {
  const stepX = crop.width / width;
  return {
    rgb: pixels.data,
    mask,
    width: pixels.width,
    height: pixels.height,
    x: flip ? crop.x + crop.width : crop.x,
    y: crop.y,
    stepX: flip ? -stepX : stepX,
    stepY: crop.height / height,
    colour,
  };
}

/** Anywhere, its longer side a fifth to two thirds of the picture's shorter one. */
function placed(
  draws: Draws,
  object: LabelledObject,
  width: number,
  height: number,
  flip: boolean,
  colour: number[],
): NativeSampleLayer {
  const [x0, y0, x1, y1] = object.box;
  const [boxWidth, boxHeight] = [x1 + 1 - x0, y1 + 1 - y0];
  const long = Math.min(width, height) * draws.uniform(0.2, 0.67);
  const step = Math.max(boxWidth, boxHeight) / long;
  const left = draws.uniform(-0.1, 1.1) * (width - boxWidth / step);
  const top = draws.uniform(-0.1, 1.1) * (height - boxHeight / step);
  const { data, width: sourceWidth, height: sourceHeight } = object.pixels;
  return {
    rgb: data,
    mask: object.mask,
    width: sourceWidth,
    height: sourceHeight,
    x: flip ? x1 + 1 + left * step : x0 - left * step,
    y: y0 - top * step,
    stepX: flip ? -step : step,
    stepY: step,
    colour,
  };
}
