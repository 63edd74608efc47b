import type { Program } from './program.js';

/** Compiled programs by key, the least recently used one dropped beyond a bound. */
export class ProgramCache {
  readonly #programs = new Map<string, Promise<Program>>();

  constructor(readonly bound: number) {}

  /** The program of `key`, compiled once however many ask for it at the same time. */
  get(key: string, compile: () => Promise<Program>): Promise<Program> {
    const found = this.#programs.get(key);
    if (found) {
      this.#programs.delete(key);
      this.#programs.set(key, found);
      return found;
    }
    const made = compile();
    this.#programs.set(key, made);
    made.catch(() => {
      if (this.#programs.get(key) === made) this.#programs.delete(key);
    });
    for (const [oldest, program] of this.#programs) {
      if (this.#programs.size <= this.bound) break;
      this.#programs.delete(oldest);
      drop(program);
    }
    return made;
  }

  clear(): void {
    for (const program of this.#programs.values()) drop(program);
    this.#programs.clear();
  }
}

// Runs under way keep what they need.
const drop = (program: Promise<Program>): void => {
  program.then(
    (compiled) => compiled.dispose(),
    () => {},
  );
};
