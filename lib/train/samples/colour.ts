import type { Rng } from '../../rng.js';

/** Three rows (r, g, b, constant) in 1/1024, as native code applies them. */
export type ColourMatrix = number[];

/** How far colours are changed, at most: see the recipe's schema. */
export interface ColourJitter {
  brightness: number;
  contrast: number;
  saturation: number;
  hue: number;
  tint: number;
}

const LUMA = [0.299, 0.587, 0.114] as const;

export const UNCHANGED: ColourMatrix = [1024, 0, 0, 0, 0, 1024, 0, 0, 0, 0, 1024, 0];

/** Random change of colours; `grey` takes all colour out. */
export function jitter(draws: Rng, amount: ColourJitter, grey: boolean): ColourMatrix {
  const around = (spread: number) => draws.uniform(-spread, spread);
  const brightness = 1 + around(amount.brightness);
  const contrast = 1 + around(amount.contrast);
  const saturation = grey ? 0 : 1 + around(amount.saturation);
  // A turn about the grey axis, without sine and cosine: they differ between machines.
  const t = around(amount.hue);
  const cosine = (1 - t * t) / (1 + t * t);
  const sine = (2 * t) / (1 + t * t) / Math.sqrt(3);
  const even = (1 - cosine) / 3;
  const matrix: ColourMatrix = [];
  for (let row = 0; row < 3; row++) {
    const tint = amount.tint > 0 ? 1 + around(amount.tint) : 1;
    for (let column = 0; column < 3; column++) {
      const step = (column - row + 3) % 3;
      const turned = even + (step === 0 ? cosine : step === 1 ? -sine : sine);
      const mixed = LUMA[column]! + (turned - LUMA[column]!) * saturation;
      matrix.push(Math.round(mixed * brightness * contrast * tint * 1024));
    }
    matrix.push(Math.round(128 * (1 - contrast) * 1024));
  }
  return matrix;
}
