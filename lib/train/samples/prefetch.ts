export interface PrefetchOptions {
  /** The first one. Default 0. */
  from?: number;
  /** Stop before this one. Default: never. */
  to?: number;
  /** How many are in the making or wait, at most. Default 4. */
  concurrency?: number;
}

/** `make(from)`, `make(from + 1)`, … in order, several in the making at a time; leaving the loop stops it. */
export async function* prefetch<T>(
  make: (index: number) => Promise<T>,
  { from = 0, to = Infinity, concurrency = 4 }: PrefetchOptions = {},
): AsyncGenerator<T, void, undefined> {
  const pending: Promise<T>[] = [];
  for (let index = from, next = from; index < to; index++) {
    for (; next < to && pending.length < concurrency; next++) {
      const made = make(next);
      made.catch(() => {}); // it is heard of when its turn comes
      pending.push(made);
    }
    yield await pending.shift()!;
  }
}
