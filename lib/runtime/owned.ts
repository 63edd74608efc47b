/** Things disposed together, in reverse order, when the block ends: `using owned = new Owned()`. */
export class Owned {
  readonly #items: { dispose(): void }[] = [];

  add<T extends { dispose(): void }>(item: T): T {
    this.#items.push(item);
    return item;
  }

  [Symbol.dispose](): void {
    while (this.#items.length > 0) this.#items.pop()!.dispose();
  }
}
