import { HrsamError } from '../errors.js';
import { optionsOf } from '../options.js';
import type { EncodedImage, Masks } from './image.js';
import type { Mask } from './mask.js';

/** A click, in pixels of the picture. */
export interface Click {
  /** 0 to the picture's width. */
  x: number;
  /** 0 to the picture's height. */
  y: number;
  /** 1: belongs to the object, 0: does not. */
  label: 0 | 1;
}

/** Options of `ClickSession.click`. */
export interface ClickOptions {
  /** Ends the work with ERR_ABORTED while it is queued or between two layers. */
  signal?: AbortSignal;
}

interface Step {
  click: Click;
  mask: Mask;
}

const checkClickOptions = optionsOf<ClickOptions>({ signal: true });

/**
 * Interactive segmentation: every click is decoded together with all earlier ones and with the previous step's
 * low-resolution logits as mask prompt, as HRSAM is evaluated (arXiv 2407.02109). A click waits for the answers to those
 * before it.
 */
export class ClickSession {
  readonly #image: EncodedImage;
  /** Taken back: another list, so that clicks under way cannot add to it. */
  #steps: Step[] = [];
  #answered: Promise<unknown> = Promise.resolve();

  /** @internal Made by `image.session()`. */
  constructor(image: EncodedImage) {
    this.#image = image;
  }

  /** The clicks answered so far and not taken back, in order. */
  get clicks(): readonly Click[] {
    return this.#steps.map(({ click }) => click);
  }

  /** The mask after the last click. */
  get mask(): Mask | undefined {
    return this.#steps.at(-1)?.mask;
  }

  /**
   * Adds a click, in pixels of the picture, and returns the new mask.
   * @param label 1: belongs to the object, 0: does not
   * @throws HrsamError ERR_PROMPT, ERR_ARGUMENT, ERR_DISPOSED, ERR_ABORTED; the click is then not taken
   */
  async click(x: number, y: number, label: 0 | 1 = 1, options: ClickOptions = {}): Promise<Mask> {
    checkClickOptions(options, 'click');
    if (label !== 0 && label !== 1)
      throw new HrsamError('ERR_PROMPT', 'a label', { where: 'click', expected: '1 or 0', actual: label });
    const steps = this.#steps;
    // A picture that is disposed meanwhile stays until those before it are answered, and it is.
    const answer = this.#image.use(() =>
      this.#answered.then(() => this.#answer(steps, { x, y, label }, options)),
    );
    this.#answered = answer.catch(() => {});
    return answer;
  }

  async #answer(steps: Step[], click: Click, { signal }: ClickOptions): Promise<Mask> {
    const clicks = [...steps.map((step) => step.click), click];
    const prompt = {
      points: clicks.map(({ x, y }) => [x, y] as const),
      labels: clicks.map(({ label }) => label),
      mask: steps.at(-1)?.mask.logits,
    };
    const [[mask]] = (await this.#image.masksOf([prompt], { signal }, () => 'prompt')) as [Masks];
    steps.push({ click, mask });
    return mask;
  }

  /** Takes the last answered click back and forgets those not answered yet; returns the mask before it. */
  undo(): Mask | undefined {
    this.#steps = this.#steps.slice(0, -1);
    return this.mask;
  }

  /** Forgets all clicks, those not answered yet too. */
  reset(): void {
    this.#steps = [];
  }
}
