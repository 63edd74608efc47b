import { describe, expect, it } from 'vitest';
import type { Program } from '../../lib/runtime/program.js';
import { ProgramCache } from '../../lib/runtime/programs.js';

/** Stands for compiled programs; remembers what was compiled and disposed. */
class Compiler {
  readonly compiled: string[] = [];
  readonly disposed: string[] = [];

  compile(name: string): () => Promise<Program> {
    return async () => {
      this.compiled.push(name);
      return { dispose: () => this.disposed.push(name) } as unknown as Program;
    };
  }
}

const settle = () => new Promise((resolve) => setImmediate(resolve));

describe('the cache of programs', () => {
  it('compiles once, however many ask at the same time', async () => {
    const compiler = new Compiler();
    const cache = new ProgramCache(2);
    const [a, b] = await Promise.all([
      cache.get('a', compiler.compile('a')),
      cache.get('a', compiler.compile('a again')),
    ]);
    expect(a).toBe(b);
    expect(compiler.compiled).toEqual(['a']);
  });

  it('drops what was used longest ago', async () => {
    const compiler = new Compiler();
    const cache = new ProgramCache(2);
    for (const key of ['a', 'b', 'a', 'c']) await cache.get(key, compiler.compile(key));
    await settle();
    expect(compiler.compiled).toEqual(['a', 'b', 'c']);
    expect(compiler.disposed).toEqual(['b']);
    await cache.get('b', compiler.compile('b'));
    await settle();
    expect(compiler.disposed).toEqual(['b', 'a']);
  });

  it('disposes of everything when cleared', async () => {
    const compiler = new Compiler();
    const cache = new ProgramCache(3);
    await cache.get('a', compiler.compile('a'));
    void cache.get('b', compiler.compile('b'));
    cache.clear();
    await settle();
    expect(compiler.disposed).toEqual(['a', 'b']);
  });

  it('tries again after a failure', async () => {
    const compiler = new Compiler();
    const cache = new ProgramCache(2);
    const failing = () => Promise.reject(new Error('no memory'));
    await expect(cache.get('a', failing)).rejects.toThrow('no memory');
    await cache.get('a', compiler.compile('a'));
    expect(compiler.compiled).toEqual(['a']);
  });

  it('a failure takes no later program of the same key away', async () => {
    const compiler = new Compiler();
    const cache = new ProgramCache(1);
    let fail = (_: Error) => {};
    const failing = cache.get(
      'a',
      () =>
        new Promise((_, reject) => {
          fail = reject;
        }),
    );
    await cache.get('b', compiler.compile('b'));
    const again = cache.get('a', compiler.compile('a'));
    fail(new Error('late'));
    await expect(failing).rejects.toThrow('late');
    expect(await cache.get('a', compiler.compile('a once more'))).toBe(await again);
    expect(compiler.compiled).toEqual(['b', 'a']);
  });
});
