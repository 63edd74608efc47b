import { HrsamError } from '../errors.js';
import type { Pixels } from '../image/pixels.js';
import type { EncodeOptions, HRSAM } from '../predictor/hrsam.js';
import { idlest } from '../predictor/idlest.js';
import type { EncodedImage } from '../predictor/image.js';
import { checkSignal } from '../runtime/addon.js';

/** Runs of a model at a time: one's pictures are made ready while another's are encoded. */
const RUNS = 2;

interface Waiting {
  pixels: Pixels;
  options: EncodeOptions;
  resolve(image: EncodedImage): void;
  reject(error: unknown): void;
}

/**
 * Pictures on their way to the encoder. Each is encoded at once where a model is free, on the one with the least to do;
 * those that have come to wait meanwhile and want the same size go together, 1, 2, 4 … of them, since every number is a
 * program of its own.
 */
export class Batches {
  readonly #waiting: Waiting[] = [];
  readonly #runs: Map<HRSAM, number>;

  /** @param most pictures that are encoded together */
  constructor(
    models: readonly HRSAM[],
    readonly most: number,
  ) {
    this.#runs = new Map(models.map((model) => [model, 0]));
  }

  /** How many pictures can be at work, or made ready for it. */
  get room(): number {
    return RUNS * this.most * this.#runs.size;
  }

  /** As `encode` of a model. One that is encoded with others is not cancelled for itself, but forgotten. */
  encode(pixels: Pixels, options: EncodeOptions): Promise<EncodedImage> {
    return new Promise((resolve, reject) => {
      this.#waiting.push({ pixels, options, resolve, reject });
      this.#begin();
    });
  }

  #begin(): void {
    while (this.#waiting.length > 0) {
      const usable = this.#usable();
      if (usable.size === 0) {
        for (const { reject } of this.#waiting.splice(0))
          reject(new HrsamError('ERR_DEVICE_LOST', 'no device is left: restart the server'));
        return;
      }
      const model = idlest(usable);
      const runs = usable.get(model)!;
      if (runs >= RUNS) return;
      this.#runs.set(model, runs + 1);
      this.#run(model, this.#take()).finally(() => {
        this.#runs.set(model, this.#runs.get(model)! - 1);
        this.#begin();
      });
    }
  }

  /** Models on devices that work, and their runs. */
  #usable(): Map<HRSAM, number> {
    return new Map([...this.#runs].filter(([{ device }]) => !device.lost));
  }

  /** The one that has waited the longest, and others like it. */
  #take(): Waiting[] {
    const [{ options: first }] = this.#waiting as [Waiting];
    const alike = this.#waiting.filter(
      ({ options: { size, coarseToFine, zoom } }) =>
        size === first.size && coarseToFine === first.coarseToFine && zoom === first.zoom,
    );
    const together = alike.slice(0, 2 ** Math.floor(Math.log2(Math.min(this.most, alike.length))));
    for (const one of together) this.#waiting.splice(this.#waiting.indexOf(one), 1);
    return together;
  }

  async #run(model: HRSAM, together: readonly Waiting[]): Promise<void> {
    const alone = together.length === 1;
    const { signal, ...options } = together[0]!.options;
    try {
      const images = await model.encodeBatch(
        together.map(({ pixels }) => pixels),
        { ...options, signal: alone ? signal : undefined },
      );
      for (const [i, one] of together.entries()) give(one, images[i]!);
    } catch (error) {
      const tooMany = !alone && error instanceof HrsamError && error.code === 'ERR_OUT_OF_MEMORY';
      // Those on other devices take them.
      if (model.device.lost && this.#usable().size > 0) this.#waiting.unshift(...together);
      else if (tooMany) for (const one of together) await this.#run(model, [one]);
      else for (const { reject } of together) reject(error);
    }
  }
}

function give({ options, resolve, reject }: Waiting, image: EncodedImage): void {
  try {
    checkSignal(options.signal);
    resolve(image);
  } catch (error) {
    image.dispose();
    reject(error);
  }
}
