/** Things disposed together, in reverse order, when the block ends: `using owned = new Owned()`. */
export class Owned {
  #items: { dispose(): void }[] = [];

  add<T extends { dispose(): void }>(item: T): T {
    this.#items.push(item);
    return item;
  }

  /** Hands everything over: the block that made it may end. */
  move(): Owned {
    const taken = new Owned();
    [taken.#items, this.#items] = [this.#items, []];
    return taken;
  }

  [Symbol.dispose](): void {
    while (this.#items.length > 0) this.#items.pop()!.dispose();
  }
}
