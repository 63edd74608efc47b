import { longestSide } from '../../image/resize.js';
import type { Rng } from '../../rng.js';
import type { NativeSampleLayer, NativeSampleSpec } from '../../runtime/addon.js';
import { type ColourJitter, jitter, UNCHANGED } from './colour.js';
import { type Crop, type CropRules, randomCrop, wholePicture } from './crop.js';
import type { LabelledObject } from './source.js';

/** Probabilities and strengths; the recipe's schema says what each is, `augmentation` what is usual. */
export interface Augmentation {
  crop: number;
  cropKeep: number;
  cropArea: readonly [number, number];
  flip: number;
  rotate: number;
  stretch: number;
  colour: number;
  jitter: ColourJitter;
  grey: number;
  blur: number;
  noise: number;
  paste: number;
}

export const augmentation: Augmentation = {
  crop: 0.7,
  cropKeep: 0.6,
  cropArea: [0.005, 0.85],
  flip: 0.5,
  rotate: 0.3,
  stretch: 0,
  colour: 0.8,
  jitter: { brightness: 0.3, contrast: 0.3, saturation: 0.4, hue: 0.08, tint: 0 },
  grey: 0.04,
  blur: 0.08,
  noise: 0.2,
  paste: 0.2,
};

/** Smaller crops than a third of the sample's side would only be blurred. */
const SMALLEST_CROP = 1 / 3;

export const MOST_PASTED = 3;

/** Tangent of half of 20 degrees. */
const MOST_TURNED = 0.1763;

export const MOST_STRETCHED = 1.4;

/** How one object becomes a sample of side `size`, with what is pasted over it, one after the other. */
export function plan(
  draws: Rng,
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
  // Nothing is drawn where nothing is stretched, nor tinted: recipes from before keep their samples.
  const wider = () =>
    rules.stretch > 0 && draws.chance(rules.stretch) ? draws.uniform(1 / MOST_STRETCHED, MOST_STRETCHED) : 1;
  const shown = longestSide(crop.height, Math.max(1, Math.round(crop.width * wider())), size);
  const grey = draws.chance(rules.grey);
  const colours = () =>
    draws.chance(rules.colour) || grey ? jitter(draws, rules.jitter, grey) : [...UNCHANGED];
  const pose = (): Pose => ({
    flip: draws.chance(rules.flip),
    turn: draws.chance(rules.rotate) ? draws.uniform(-MOST_TURNED, MOST_TURNED) : 0,
    colour: colours(),
  });
  const { width, height } = shown;
  const layers = [laid(object, wholeView(crop, width, height), pose())];
  for (const other of pasted)
    layers.push(laid(other, pastedView(draws, other, width, height, wider()), pose()));
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

/** Where a part of a source is seen. */
interface View {
  /** A point of the source, and where it is seen. */
  from: readonly [number, number];
  to: readonly [number, number];
  /** Source pixels per output pixel. */
  step: readonly [number, number];
}

/** How it is seen. */
interface Pose {
  flip: boolean;
  /** Tangent of half the angle. */
  turn: number;
  colour: number[];
}

function laid({ pixels, mask }: LabelledObject, view: View, { flip, turn, colour }: Pose): NativeSampleLayer {
  const { from, to } = view;
  // Without sine and cosine: they differ between machines.
  const cosine = (1 - turn * turn) / (1 + turn * turn);
  const sine = (2 * turn) / (1 + turn * turn);
  const [across, down] = [flip ? -view.step[0] : view.step[0], view.step[1]];
  const [stepX, turnX] = [across * cosine, -down * sine];
  const [turnY, stepY] = [across * sine, down * cosine];
  return {
    rgb: pixels.data,
    mask,
    width: pixels.width,
    height: pixels.height,
    x: from[0] - stepX * to[0] - turnX * to[1],
    y: from[1] - turnY * to[0] - stepY * to[1],
    stepX,
    stepY,
    turnX,
    turnY,
    colour,
  };
}

/** The crop fills the output. */
const wholeView = (crop: Crop, width: number, height: number): View => ({
  from: [crop.x + crop.width / 2, crop.y + crop.height / 2],
  to: [width / 2, height / 2],
  step: [crop.width / width, crop.height / height],
});

/** Anywhere, its longer side a fifth to two thirds of the picture's shorter one. */
function pastedView(draws: Rng, { box }: LabelledObject, width: number, height: number, wider: number): View {
  const [x0, y0, x1, y1] = box;
  const [boxWidth, boxHeight] = [x1 - x0, y1 - y0];
  const longer = Math.max(boxWidth * wider, boxHeight);
  const step = longer / (Math.min(width, height) * draws.uniform(0.2, 0.67));
  const left = draws.uniform(-0.1, 1.1) * (width - (boxWidth * wider) / step);
  const top = draws.uniform(-0.1, 1.1) * (height - boxHeight / step);
  return {
    from: [x0 + boxWidth / 2, y0 + boxHeight / 2],
    to: [left + (boxWidth * wider) / step / 2, top + boxHeight / step / 2],
    step: [step / wider, step],
  };
}
