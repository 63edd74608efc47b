import { optionsOf } from '../options.js';
import type { EncodedImage } from './image.js';
import type { Mask } from './mask.js';
import type { MaskLogits } from './prompts.js';

export interface Click {
  x: number;
  y: number;
  /** 1: belongs to the object, 0: does not. */
  label: 0 | 1;
}

export interface ClickOptions {
  signal?: AbortSignal;
}

const checkClickOptions = optionsOf<ClickOptions>({ signal: true });

/**
 * Interactive segmentation: every click is decoded together with all earlier ones and with the previous step's
 * low-resolution logits as mask prompt, as HRSAM is evaluated (arXiv 2407.02109). Calls must follow one another.
 */
export class ClickSession {
  readonly #image: EncodedImage;
  readonly #steps: { click: Click; mask: Mask }[] = [];

  /** @internal Made by `image.session()`. */
  constructor(image: EncodedImage) {
    this.#image = image;
  }

  get clicks(): readonly Click[] {
    return this.#steps.map(({ click }) => click);
  }

  /** The mask after the last click. */
  get mask(): Mask | undefined {
    return this.#steps.at(-1)?.mask;
  }

  /** Adds a click, in pixels of the picture, and returns the new mask. @throws HrsamError ERR_PROMPT; the click is then not taken */
  async click(x: number, y: number, label: 0 | 1 = 1, options: ClickOptions = {}): Promise<Mask> {
    checkClickOptions(options, 'click');
    const click: Click = { x, y, label };
    const clicks = [...this.clicks, click];
    const previous: MaskLogits | undefined = this.mask?.logits;
    const [mask] = await this.#image.segment({
      points: clicks.map((c) => [c.x, c.y] as const),
      labels: clicks.map((c) => c.label),
      mask: previous,
      signal: options.signal,
    });
    this.#steps.push({ click, mask: mask! });
    return mask!;
  }

  /** Takes the last click back; returns the mask before it. */
  undo(): Mask | undefined {
    this.#steps.pop();
    return this.mask;
  }

  reset(): void {
    this.#steps.length = 0;
  }
}
