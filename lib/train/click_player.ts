import { difference, emptyMask, overlap } from '../image/overlap.js';
import type { Size } from '../image/resize.js';
import { boxOf, encodeRle, type Rle } from '../image/rle.js';
import { boxTokens, type PromptToken, promptTokens } from '../predictor/prompt_tokens.js';
import type { Click } from '../predictor/session.js';
import { SimulatedUser } from '../predictor/simulated_user.js';
import type { Rng } from '../rng.js';

export interface PlayerOptions {
  /** Share of the samples that are prompted with a box first. */
  box: number;
  /** Half of the users click the deepest pixel, half any one deeper than the deepest's distance / innerK. */
  innerK: number;
}

/** How far a corner of a drawn box strays, as a share of the side. */
const BOX_JITTER = 0.1;

/** A simulated user and one object: prompts, and where the next click goes. Padding counts neither way. */
export class ClickPlayer {
  readonly object: Rle;
  readonly #padding: Rle;
  readonly #user: SimulatedUser;
  readonly #clicks: Click[] = [];
  readonly #box?: readonly PromptToken[];

  /** @param mask as a sample's: 1 on the object, 255 in the padding */
  constructor(mask: Uint8Array, { width, height }: Size, draws: Rng, { box, innerK }: PlayerOptions) {
    const where = (value: number) => encodeRle(mask, height, width, value);
    this.object = where(1);
    this.#padding = where(255);
    this.#box = draws.chance(box) ? strayingBox(this.object, draws) : undefined;
    const deepest = draws.chance(0.5);
    this.#user = new SimulatedUser(this.object, { innerK: deepest ? 1 : innerK, seed: draws.bits() });
  }

  /** The prompt as it stands: clicks, then the box or what stands for none. */
  get tokens(): PromptToken[] {
    return promptTokens(this.#clicks, this.#box);
  }

  /** The first prompt: a click, unless there is a box. */
  async begin(): Promise<void> {
    if (!this.#box) await this.#click(emptyMask(...this.object.size));
  }

  /** IoU of an answer. */
  iou(answer: Rle): number {
    const { intersection, union } = overlap(difference(answer, this.#padding), this.object);
    return intersection / union;
  }

  /** Clicks where the answer is most wrong; nowhere when it is right. */
  async next(answer: Rle): Promise<void> {
    await this.#click(difference(answer, this.#padding));
  }

  async #click(answer: Rle): Promise<void> {
    const click = await this.#user.next(answer, this.#clicks);
    if (click) this.#clicks.push(click);
  }
}

function strayingBox(object: Rle, draws: Rng): PromptToken[] {
  const [x0, y0, x1, y1] = boxOf(object);
  const [height, width] = object.size;
  const stray = (at: number, side: number, limit: number) =>
    Math.min(limit, Math.max(0, at + draws.uniform(-BOX_JITTER, BOX_JITTER) * side));
  const [w, h] = [x1 - x0, y1 - y0];
  return boxTokens(stray(x0, w, width), stray(y0, h, height), stray(x1, w, width), stray(y1, h, height));
}
