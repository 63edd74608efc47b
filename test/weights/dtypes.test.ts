import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HrsamError } from '../../lib/errors.js';
import {
  bf16Bits,
  f16Bits,
  f16Value,
  firstNotFinite,
  fromFloat32,
  storedArray,
  toFloat32,
} from '../../lib/weights/dtypes.js';

const bytesOf = (view: ArrayBufferView) => new Uint8Array(view.buffer, view.byteOffset, view.byteLength);

const float32 = (bits: number) => new Float32Array(Uint32Array.of(bits).buffer)[0]!;

/** Rounding by definition: the nearer of the two neighbours, the even one when both are equally near. */
const nearestEven = (
  x: number,
  decode: (bits: number) => number,
  infinity: number,
  overflow: number,
): number => {
  const sign = x < 0 || Object.is(x, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(x);
  if (magnitude >= overflow) return sign | infinity;
  let low = 0;
  let high = infinity;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (decode(middle) <= magnitude) low = middle;
    else high = middle;
  }
  const above = high === infinity ? overflow * 2 - decode(low) : decode(high);
  const [down, up] = [magnitude - decode(low), above - magnitude];
  return sign | (up < down || (up === down && high % 2 === 0) ? high : low);
};

describe('float16', () => {
  it.each([
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3c00],
    [-2, 0xc000],
    [65504, 0x7bff],
    [65519.99609375, 0x7bff],
    [65520, 0x7c00],
    [-65520, 0xfc00],
    [Number.POSITIVE_INFINITY, 0x7c00],
    [2 ** -14, 0x0400],
    [2 ** -24, 0x0001],
    [2 ** -25, 0x0000],
    [float32(0x33000001), 0x0001],
    [1.5 * 2 ** -24, 0x0002],
    [2.5 * 2 ** -24, 0x0002],
    [1023.5 * 2 ** -24, 0x0400],
    [1 + 2 ** -11, 0x3c00],
    [1 + 3 * 2 ** -11, 0x3c02],
  ])('%f → %i', (value, bits) => {
    expect(f16Bits(value)).toBe(bits);
  });

  it('keeps NaN', () => {
    for (const nan of [Number.NaN, float32(0x7f800001), float32(0xffffffff)]) {
      expect(f16Bits(nan) & 0x7c00).toBe(0x7c00);
      expect(f16Bits(nan) & 0x3ff).not.toBe(0);
    }
    expect([Number.NaN, float32(0x7fc02000)].map(f16Bits)).toEqual([0x7e00, 0x7e01]);
    expect(f16Value(0x7e00)).toBeNaN();
  });

  it('comes back from float32 for every bit pattern', () => {
    for (let bits = 0; bits < 65536; bits++) {
      if ((bits & 0x7c00) === 0x7c00 && (bits & 0x3ff) !== 0) continue;
      if (f16Bits(f16Value(bits)) !== bits) expect(f16Bits(f16Value(bits)), bits.toString(16)).toBe(bits);
    }
  });

  it('rounds to nearest, ties to even', () => {
    fc.assert(
      fc.property(fc.float({ noNaN: true, noDefaultInfinity: true }), (x) => {
        expect(f16Bits(x)).toBe(nearestEven(x, f16Value, 0x7c00, 65520));
      }),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0x7bff }), fc.boolean(), (bits, negative) => {
        const tie = (f16Value(bits) + (bits === 0x7bff ? 65536 : f16Value(bits + 1))) / 2;
        const x = negative ? -tie : tie;
        expect(f16Bits(x)).toBe(nearestEven(x, f16Value, 0x7c00, 65520));
      }),
      { numRuns: 2000 },
    );
  });
});

describe('bfloat16', () => {
  const value = (bits: number) => float32(bits << 16);

  it('rounds to nearest, ties to even', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 0xffffffff }), (bits) => {
        const x = float32(bits);
        if (Number.isNaN(x)) return;
        const expected = Number.isFinite(x) ? nearestEven(x, value, 0x7f80, 255.5 * 2 ** 120) : bits >>> 16;
        expect(bf16Bits(x)).toBe(expected);
      }),
      { numRuns: 4000 },
    );
    expect(bf16Bits(float32(0x3f808000))).toBe(0x3f80);
    expect(bf16Bits(float32(0x3f818000))).toBe(0x3f82);
    expect(bf16Bits(float32(0x7f7fffff))).toBe(0x7f80);
    expect(bf16Bits(float32(0x00008000))).toBe(0x0000);
    expect(bf16Bits(float32(0x00018000))).toBe(0x0002);
  });

  it('keeps NaN, even one whose upper half says infinity', () => {
    for (const bits of [0x7f800001, 0xff800001, 0x7fc00000, 0xffffffff]) {
      expect(value(bf16Bits(float32(bits)))).toBeNaN();
    }
  });

  it('is exact on the way back', () => {
    const bits = Uint16Array.of(0, 0x8000, 0x3f80, 0x0001, 0x7f80, 0xff80, 0x7fc0);
    expect([...toFloat32('BF16', bytesOf(bits))]).toEqual([0, -0, 1, 2 ** -133, Infinity, -Infinity, NaN]);
  });
});

describe('toFloat32', () => {
  it.each([
    ['F32', Float32Array.of(1.5, -2), [1.5, -2]],
    ['F16', Uint16Array.of(0x3c00, 0x0001, 0xfc00), [1, 2 ** -24, -Infinity]],
    [
      'F64',
      Float64Array.of(0.1, 1 + 2 ** -24, 1 + 3 * 2 ** -24, 1e300),
      [Math.fround(0.1), 1, 1 + 2 ** -22, Infinity],
    ],
    ['I64', BigInt64Array.of(-5n, 2n ** 40n), [-5, 2 ** 40]],
    ['U64', BigUint64Array.of(5n), [5]],
    ['I32', Int32Array.of(-7), [-7]],
    ['I8', Int8Array.of(-7), [-7]],
    ['BOOL', Uint8Array.of(1, 0), [1, 0]],
  ] as const)('reads %s', (dtype, stored, expected) => {
    expect([...toFloat32(dtype, bytesOf(stored))]).toEqual(expected);
  });

  it('reads bytes at any alignment', () => {
    const bytes = new Uint8Array(9);
    bytes.set(bytesOf(Float32Array.of(3, 4)), 1);
    expect([...toFloat32('F32', bytes.subarray(1))]).toEqual([3, 4]);
    expect(storedArray('F32', bytes.subarray(1))).toEqual(Float32Array.of(3, 4));
  });

  it('refuses 8-bit floats by name', () => {
    expect(() => toFloat32('F8_E4M3', Uint8Array.of(1), 'w')).toThrow(HrsamError);
    expect(() => toFloat32('F8_E4M3', Uint8Array.of(1), 'w')).toThrow(/^w: .*F8_E4M3/);
  });
});

describe('fromFloat32', () => {
  it.each(['F32', 'F16', 'BF16'] as const)('goes to %s and back', (dtype) => {
    const values = Float32Array.of(0, 1, -1.5, 0.25, 1024);
    expect(toFloat32(dtype, fromFloat32(values, dtype))).toEqual(values);
  });
});

describe('firstNotFinite', () => {
  it('is where a value is infinite or no number, wherever it is', () => {
    for (const bad of [Number.NaN, Infinity, -Infinity])
      for (let at = 0; at < 11; at++) {
        const values = new Float32Array(11).fill(-3e38);
        values[at] = bad;
        expect(firstNotFinite(values)).toBe(at);
        values[10] = bad;
        expect(firstNotFinite(values)).toBe(at);
      }
  });

  it('and nowhere among finite values, however large or few', () => {
    for (let length = 0; length < 9; length++)
      for (const value of [3.4e38, -3.4e38, 1e-45, -0]) {
        const values = new Float32Array(length).fill(value);
        expect(firstNotFinite(values)).toBe(-1);
      }
  });
});
