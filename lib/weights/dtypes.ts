import { HrsamError } from '../errors.js';

/**
 * Element types of weights files, by their safetensors names. Values are little-endian in files and, on every
 * platform Node is built for here, in memory: bytes become typed arrays without a copy.
 */
const ELEMENTS = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  F8_E4M3: Uint8Array,
  F8_E5M2: Uint8Array,
  I64: BigInt64Array,
  I32: Int32Array,
  I16: Int16Array,
  I8: Int8Array,
  U64: BigUint64Array,
  U32: Uint32Array,
  U16: Uint16Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;

export type FileDType = keyof typeof ELEMENTS;

/** Elements as they are stored: numbers, bigints for 64-bit integers, bit patterns for F16, BF16 and F8. */
export type StoredArray = InstanceType<(typeof ELEMENTS)[FileDType]>;

export const FILE_DTYPES = Object.keys(ELEMENTS) as readonly FileDType[];

export const isFileDType = (name: string): name is FileDType => Object.hasOwn(ELEMENTS, name);

/** Those that weights may be of. */
export const isWeightType = (dtype: FileDType): boolean => ['F64', 'F32', 'F16', 'BF16'].includes(dtype);

export const elementBytes = (dtype: FileDType): number => ELEMENTS[dtype].BYTES_PER_ELEMENT;

/** The elements of `bytes`, without conversion. Copies only when the bytes are not aligned. */
export const storedArray = (dtype: FileDType, bytes: Uint8Array): StoredArray => {
  const Elements = ELEMENTS[dtype];
  const size = elementBytes(dtype);
  const aligned = bytes.byteOffset % size === 0 ? bytes : new Uint8Array(bytes);
  return new Elements(aligned.buffer as ArrayBuffer, aligned.byteOffset, aligned.byteLength / size);
};

const bits = new Uint32Array(1);
const value = new Float32Array(bits.buffer);

/** float32 → bfloat16 bits, to nearest, ties to even; NaN stays NaN. */
export const bf16Bits = (x: number): number => {
  value[0] = x;
  const b = bits[0]!;
  if ((b & 0x7fffffff) > 0x7f800000) return (b >>> 16) | 0x40;
  return ((b + 0x7fff + ((b >>> 16) & 1)) >>> 16) & 0xffff;
};

/** float32 → float16 bits, to nearest, ties to even; too large becomes infinity, NaN stays NaN. */
export const f16Bits = (x: number): number => {
  value[0] = x;
  const b = bits[0]!;
  const sign = (b >>> 16) & 0x8000;
  const magnitude = b & 0x7fffffff;
  if (magnitude >= 0x7f800000)
    return sign | 0x7c00 | (magnitude > 0x7f800000 ? 0x200 | ((magnitude >>> 13) & 0x3ff) : 0);
  if (magnitude >= 0x477ff000) return sign | 0x7c00; // 65520 and above round to infinity
  if (magnitude >= 0x38800000) {
    // normal: rebias the exponent by 127 − 15, round the 13 bits that go
    return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
  }
  if (magnitude < 0x33000000) return sign; // below half the smallest subnormal
  const shift = 126 - (magnitude >>> 23);
  const mantissa = (magnitude & 0x7fffff) | 0x800000;
  const rest = mantissa & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  const kept = mantissa >>> shift;
  return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
};

/** The float32 of float16 bits: exact. */
export const f16Value = (half: number): number => {
  const sign = half & 0x8000 ? -1 : 1;
  const exponent = (half >>> 10) & 0x1f;
  const mantissa = half & 0x3ff;
  if (exponent === 0x1f) return mantissa ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
};

let halves: Float32Array | undefined;

const decodeF16 = (source: Uint16Array): Float32Array => {
  halves ??= Float32Array.from({ length: 65536 }, (_, i) => f16Value(i));
  const out = new Float32Array(source.length);
  for (let i = 0; i < out.length; i++) out[i] = halves[source[i]!]!;
  return out;
};

const decodeBf16 = (source: Uint16Array): Float32Array => {
  const out = new Uint32Array(source.length);
  for (let i = 0; i < out.length; i++) out[i] = source[i]! << 16;
  return new Float32Array(out.buffer);
};

/**
 * Stored elements as float32: exact for F32, F16, BF16 and small integers, rounded to nearest even for F64 and large ones.
 * @throws HrsamError ERR_WEIGHTS for the 8-bit float types, which no model here uses
 */
export const toFloat32 = (dtype: FileDType, bytes: Uint8Array, where?: string): Float32Array => {
  const stored = storedArray(dtype, bytes);
  if (dtype === 'F16') return decodeF16(stored as Uint16Array);
  if (dtype === 'BF16') return decodeBf16(stored as Uint16Array);
  if (stored instanceof Float32Array) return stored;
  if (stored instanceof BigInt64Array || stored instanceof BigUint64Array) {
    return Float32Array.from(stored as Iterable<bigint>, Number);
  }
  if (dtype === 'F8_E4M3' || dtype === 'F8_E5M2') {
    throw new HrsamError('ERR_WEIGHTS', 'cannot be used as float32', {
      where,
      expected: 'F32, F16, BF16 or F64',
      actual: dtype,
    });
  }
  return Float32Array.from(stored as Exclude<StoredArray, BigInt64Array | BigUint64Array>);
};

/** Where the first value is that no model computes with; −1 where there is none. */
export const firstNotFinite = (values: Float32Array): number => {
  // 0 · x is 0 unless x is not finite. Four sums, or each addition would wait for the one before.
  let [a, b, c, d] = [0, 0, 0, 0];
  for (let i = 0; i + 3 < values.length; i += 4) {
    a += 0 * values[i]!;
    b += 0 * values[i + 1]!;
    c += 0 * values[i + 2]!;
    d += 0 * values[i + 3]!;
  }
  const rest = values.subarray(values.length & ~3);
  if (a + b + c + d === 0 && rest.every(Number.isFinite)) return -1;
  return values.findIndex((value) => !Number.isFinite(value));
};

/** float32 values as the bytes of a file, rounded to nearest even. */
export const fromFloat32 = (values: Float32Array, dtype: 'F32' | 'F16' | 'BF16'): Uint8Array => {
  const convert = (): ArrayBufferView => {
    if (dtype === 'F32') return values;
    const round = dtype === 'F16' ? f16Bits : bf16Bits;
    const out = new Uint16Array(values.length);
    for (let i = 0; i < out.length; i++) out[i] = round(values[i]!);
    return out;
  };
  const view = convert();
  return new Uint8Array(view.buffer as ArrayBuffer, view.byteOffset, view.byteLength);
};
