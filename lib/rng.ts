const mix = (value: number): number => {
  let z = Math.imul(value ^ (value >>> 16), 0x21f0aaad);
  z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
  return z ^ (z >>> 15);
};

/** Random decisions that follow from some whole numbers alone, such as a seed and a sample's index (splitmix32). */
export class Rng {
  #state = 0;

  constructor(...keys: readonly number[]) {
    for (const key of keys) {
      this.#absorb(key | 0);
      this.#absorb(Math.floor(key / 2 ** 32) | 0);
    }
  }

  #absorb(word: number): void {
    this.#state = mix((this.#state ^ word) + 0x9e3779b9);
  }

  /** 0 … 2³² - 1. */
  bits(): number {
    this.#state = (this.#state + 0x9e3779b9) | 0;
    return mix(this.#state) >>> 0;
  }

  /** [low, high) */
  uniform(low = 0, high = 1): number {
    return low + ((high - low) * this.bits()) / 2 ** 32;
  }

  below(count: number): number {
    return Math.floor(this.uniform(0, count));
  }

  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  /** An index, as likely as its weight. */
  weighted(weights: readonly number[]): number {
    let left = this.uniform() * weights.reduce((sum, weight) => sum + weight, 0);
    for (let i = 0; i < weights.length; i++) {
      left -= weights[i]!;
      if (left < 0) return i;
    }
    return weights.findLastIndex((weight) => weight > 0);
  }
}
