import { expect } from 'vitest';

// Tests compare what processes print: numbers in colours are others.
delete process.env.FORCE_COLOR;

type Numbers = Float64Array | Float32Array | Int32Array | Uint8Array;

/** Typed arrays number by number: vitest lists the keys of both, which takes seconds for a million. */
function sameNumbers(a: unknown, b: unknown): boolean | undefined {
  if (!ArrayBuffer.isView(a) || !ArrayBuffer.isView(b)) return undefined;
  if (a instanceof DataView || a.constructor !== b.constructor) return undefined;
  const [x, y] = [a as Numbers, b as Numbers];
  return x.length === y.length && x.every((value: number, i: number) => Object.is(value, y[i]));
}

expect.addEqualityTesters([sameNumbers]);
