import { randomUUID } from 'node:crypto';
import { HrsamError } from '../errors.js';
import { LOGITS_PER_TOKEN } from '../model/model.js';
import type { EncodedImage } from '../predictor/image.js';
import type { Mask } from '../predictor/mask.js';
import type { MaskLogits } from '../predictor/prompts.js';
import type { ModelConfig } from '../weights/config.js';
import { SERVER_LIMITS } from './options.js';

/** Of the logits of the answers that are kept of a picture. */
const answerBytes = (tokens: number): number => SERVER_LIMITS.masks * 4 * LOGITS_PER_TOKEN ** 2 * tokens;

/** Of a picture at the model's own size, with its answers. */
export function pictureBytes({ encoder, prompt, image }: ModelConfig): number {
  const tokens = (image.size / encoder.patchSize) ** 2;
  return 4 * prompt.embedDim * tokens + answerBytes(tokens);
}

/** An encoded picture and the logits of its last answers. */
export class HeldImage {
  readonly #logits = new Map<string, MaskLogits>();
  /** Requests that compute with it. */
  uses = 0;
  forgotten = false;

  constructor(readonly image: EncodedImage) {}

  /** Of the embedding, and of the answers it may come to hold. */
  get bytes(): number {
    const [, height, width] = this.image.embedding.shape as [number, number, number];
    return this.image.bytes + answerBytes(height * width);
  }

  /** Keeps an answer; the oldest one goes. @returns what to ask for it by */
  keep(mask: Mask): string {
    const id = randomUUID();
    this.#logits.set(id, mask.logits);
    for (const oldest of this.#logits.keys()) {
      if (this.#logits.size <= SERVER_LIMITS.masks) break;
      this.#logits.delete(oldest);
    }
    return id;
  }

  logits(id: string): MaskLogits | undefined {
    return this.#logits.get(id);
  }
}

/**
 * Encoded pictures within a budget of memory: the one that was not asked for the longest goes first. One that is in use
 * stays, and counts, until it is not.
 */
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

  /** Takes a picture over. @throws HrsamError ERR_OUT_OF_MEMORY when there is no room for it */
  add(image: EncodedImage): string {
    const held = new HeldImage(image);
    const unused = [...this.#images].filter(([, { uses }]) => uses === 0);
    const room = unused.reduce((sum, [, { bytes }]) => sum + bytes, this.budget - this.#bytes);
    if (held.bytes > room) {
      image.dispose();
      throw new HrsamError('ERR_OUT_OF_MEMORY', 'no room to keep the picture', {
        expected: `at most ${room} bytes`,
        actual: held.bytes,
      });
    }
    for (const [oldest] of unused) {
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

  /** What is forgotten meanwhile is disposed after the work. */
  async use<T>(held: HeldImage, work: () => Promise<T>): Promise<T> {
    held.uses++;
    try {
      return await work();
    } finally {
      held.uses--;
      this.#free(held);
    }
  }

  delete(id: string): boolean {
    const held = this.#images.get(id);
    if (!held) return false;
    this.#images.delete(id);
    held.forgotten = true;
    this.#free(held);
    return true;
  }

  clear(): void {
    for (const id of this.#images.keys()) this.delete(id);
  }

  #free(held: HeldImage): void {
    if (!held.forgotten || held.uses > 0) return;
    this.#bytes -= held.bytes;
    held.image.dispose();
  }
}
