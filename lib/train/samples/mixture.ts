import { HrsamError } from '../../errors.js';
import type { Pixels } from '../../image/pixels.js';
import { Rng } from '../../rng.js';
import { addon, pooled } from '../../runtime/addon.js';
import { type Augmentation, augmentation, MOST_PASTED, plan } from './augment.js';
import { drawnFrom, type LabelledObject, sourceFrom, type WeightedSource } from './source.js';

export interface Sample {
  /** S x S, RGB; 0 in the padding, right and below, which counts as 0 only once normalised. */
  image: Pixels;
  /** S · S bytes: 1 on the object, 0 beside it, 255 in the padding. */
  mask: Uint8Array;
  /** Further objects of the picture, laid out alike. */
  others: Uint8Array[];
  /** The part that is picture. */
  width: number;
  height: number;
}

export interface MixtureOptions {
  seed: number;
  /** S: the longest side becomes this long. */
  size: number;
  augment?: Partial<Augmentation>;
  /** Objects of a picture that are labelled, at most. Default 1. */
  objects?: number;
  /** Pixels that an object has in its sample, at least. Default 32. */
  minPixels?: number;
}

/** So many objects in a row that cannot be used are no accident. */
const MAX_ATTEMPTS = 200;

/**
 * Endless samples of several sources. Sample k depends on the seed, on k and on what the sources hold, and on nothing
 * else: not on how many are made at once, nor on which were made before.
 */
export class Mixture {
  readonly #augment: Augmentation;

  constructor(
    readonly sources: readonly WeightedSource[],
    readonly options: MixtureOptions,
  ) {
    const weights = sources.map(({ weight }) => weight);
    this.#augment = { ...augmentation, ...options.augment };
    if (!weights.every((w) => w >= 0 && w < Infinity) || !weights.some((w) => w > 0)) {
      throw new HrsamError('ERR_ARGUMENT', 'sources need weights', {
        where: 'Mixture',
        expected: 'numbers from 0, one of them positive',
        actual: weights,
      });
    }
    const { size } = options;
    if (!Number.isSafeInteger(size) || size < 16 || size > 8192) {
      throw new HrsamError('ERR_ARGUMENT', 'size of the samples', {
        where: 'Mixture',
        expected: '16 to 8192',
        actual: size,
      });
    }
  }

  /**
   * Sample `index`, a whole number from 0.
   * @throws HrsamError ERR_FILE when none of many objects can be used.
   */
  async sample(index: number, size = this.options.size): Promise<Sample> {
    const { seed, objects = 1, minPixels = 32 } = this.options;
    const draws = new Rng(seed, index);
    const reasons = new Map<string, number>();
    const failed = (reason: string) => reasons.set(reason, 1 + (reasons.get(reason) ?? 0));
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const source = sourceFrom(draws, this.sources);
      const object = await source.draw(draws, objects - 1);
      if (!object) {
        failed(`${source.name}: ${source.unusable}`);
        continue;
      }
      const pasted = await this.#pasted(draws);
      const spec = plan(draws, size, this.#augment, object, pasted);
      const { rgb, mask, others } = await pooled(() => addon().makeSample(spec));
      if (count(mask) < minPixels) {
        failed(`${source.name}: objects of less than ${minPixels} pixels`);
        continue;
      }
      const image: Pixels = { data: rgb, width: size, height: size, channels: 3 };
      const usable = others.filter((other) => count(other) >= minPixels).slice(0, objects - 1);
      return { image, mask, others: usable, width: spec.width, height: spec.height };
    }
    const drawn = this.sources.filter(({ weight }) => weight > 0);
    const [reason, times] = [...reasons].sort(([, a], [, b]) => b - a)[0]!;
    throw new HrsamError('ERR_FILE', `none of ${MAX_ATTEMPTS} objects could be used`, {
      where: `sample ${index} of ${drawn.map(({ source }) => source.name).join(', ')}`,
      actual: `${reason}, ${times} times`,
    });
  }

  async #pasted(draws: Rng): Promise<LabelledObject[]> {
    const pasted: LabelledObject[] = [];
    for (let i = 0; i < MOST_PASTED && draws.chance(this.#augment.paste); i++) {
      const object = await drawnFrom(draws, this.sources);
      if (object) pasted.push(object);
    }
    return pasted;
  }
}

function count(mask: Uint8Array): number {
  let set = 0;
  for (let i = 0; i < mask.length; i++) if (mask[i] === 1) set++;
  return set;
}
