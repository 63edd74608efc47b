import type { Rng } from '../../rng.js';
import { type Crop, squareCrop } from './crop.js';
import {
  drawnFrom,
  type LabelledObject,
  measure,
  type SampleSource,
  someOf,
  type WeightedSource,
} from './source.js';

export interface MosaicSourceOptions {
  /** Pictures side by side, and one above the other: the fewest and the most. */
  tiles: readonly [number, number];
}

/** Side of a tile in pixels; smaller pictures are in no mosaic. Nothing is resized: a mosaic is as sharp as what it is made of. */
const TILE = 256;

/** Share of a tile's object that is inside, at least; of what else is labelled there any part may be. */
const KEEP = 0.6;

const ATTEMPTS = 8;

/**
 * Parts of several pictures, laid out as a grid that counts as one picture: objects that are small beside the whole and
 * sharp at sizes that no picture of the sources has.
 */
export class MosaicSource implements SampleSource {
  readonly unusable = `pictures without a part of ${TILE} x ${TILE} pixels that shows an object`;

  constructor(
    readonly sources: readonly WeightedSource[],
    readonly options: MosaicSourceOptions,
  ) {}

  get name(): string {
    return `mosaics of ${this.sources.map(({ source }) => source.name).join(', ')}`;
  }

  async draw(draws: Rng, others = 0): Promise<LabelledObject | undefined> {
    const [fewest, most] = this.options.tiles;
    const tiles = () => fewest + draws.below(most - fewest + 1);
    const [columns, rows] = [tiles(), tiles()];
    const [width, height] = [TILE * columns, TILE * rows];
    const data = new Uint8Array(3 * width * height);
    const masks: (() => Uint8Array)[] = [];
    for (let i = 0; i < columns * rows; i++) {
      const tile = await this.#tile(draws);
      if (!tile) return undefined;
      const { object, crop } = tile;
      const at = Math.floor(i / columns) * TILE * width + (i % columns) * TILE;
      copyTile(object.pixels.data, object.pixels.width, crop, data, width, at, 3);
      for (const mask of [object.mask, ...object.others])
        masks.push(() => {
          const laid = new Uint8Array(width * height);
          copyTile(mask, object.pixels.width, crop, laid, width, at, 1);
          return laid;
        });
    }
    const [mask, ...rest] = someOf(draws, masks, 1 + others).map((lay) => lay());
    const measured = measure(mask!, width);
    if (!measured) return undefined;
    return { pixels: { data, width, height, channels: 3 }, mask: mask!, ...measured, others: rest };
  }

  /** An object and the part of its picture that is shown. */
  async #tile(draws: Rng): Promise<{ object: LabelledObject; crop: Crop } | undefined> {
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const object = await drawnFrom(draws, this.sources, 1);
      const crop = object && squareCrop(draws, object, TILE, KEEP);
      if (crop) return { object, crop };
    }
    return undefined;
  }
}

function copyTile(
  from: Uint8Array,
  fromWidth: number,
  { x, y, width, height }: Crop,
  to: Uint8Array,
  toWidth: number,
  at: number,
  channels: number,
): void {
  for (let row = 0; row < height; row++) {
    const start = channels * ((y + row) * fromWidth + x);
    to.set(from.subarray(start, start + channels * width), channels * (at + row * toWidth));
  }
}
