import { randomUUID } from 'node:crypto';
import type { EncodedImage } from '../predictor/image.js';
import type { Mask } from '../predictor/mask.js';
import type { MaskLogits } from '../predictor/prompts.js';

/** Answers of a picture that a later prompt may refine. */
const KEPT_MASKS = 16;

/** An encoded picture and the logits of its last answers. */
export class HeldImage {
  readonly #logits = new Map<string, MaskLogits>();

  constructor(readonly image: EncodedImage) {}

  /** Of the embedding, and of the answers it may come to hold. */
  get bytes(): number {
    const { height, width } = this.image.input;
    return this.image.bytes + KEPT_MASKS * 4 * (height / 4) * (width / 4);
  }

  /** Keeps an answer; the oldest one goes. @returns what to ask for it by */
  keep(mask: Mask): string {
    const id = randomUUID();
    this.#logits.set(id, mask.logits);
    for (const oldest of this.#logits.keys()) {
      if (this.#logits.size <= KEPT_MASKS) break;
      this.#logits.delete(oldest);
    }
    return id;
  }

  logits(id: string): MaskLogits | undefined {
    return this.#logits.get(id);
  }
}

/** Encoded pictures within a budget of memory: the one that was not asked for the longest goes first. */
export class HeldImages {
  readonly #images = new Map<string, HeldImage>();
  #bytes = 0;

  constructor(readonly budget: number) {}

  get count(): number {
    return this.#images.size;
  }

  get bytes(): number {
    return this.#bytes;
  }

  add(image: EncodedImage): string {
    const held = new HeldImage(image);
    for (const oldest of this.#images.keys()) {
      if (this.#bytes + held.bytes <= this.budget) break;
      this.delete(oldest);
    }
    const id = randomUUID();
    this.#images.set(id, held);
    this.#bytes += held.bytes;
    return id;
  }

  get(id: string): HeldImage | undefined {
    const held = this.#images.get(id);
    if (!held) return undefined;
    this.#images.delete(id);
    this.#images.set(id, held);
    return held;
  }

  delete(id: string): boolean {
    const held = this.#images.get(id);
    if (!held) return false;
    this.#images.delete(id);
    this.#bytes -= held.bytes;
    held.image.dispose();
    return true;
  }

  clear(): void {
    for (const id of this.#images.keys()) this.delete(id);
  }
}
