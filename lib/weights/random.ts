import { elementCount } from '../runtime/dtype.js';
import { ROPE_THETA } from './config.js';
import { TABLE } from './names.js';

/**
 * Deterministic values for models without trained weights (benches and tests): a hash of the tensor's name and the
 * element's index, so that any tensor can be made alone and in any language.
 *
 *   u_i     = (splitmix64(fnv1a64(utf8(name)) + i · G) >> 40) / 2^24        G = 0x9E3779B97F4A7C15, mod 2^64
 *   value_i = float32(offset_i + scale · (2·u_i − 1))
 */
export interface FillRule {
  readonly offset: number;
  readonly scale: number;
  /** In place of `offset`: element i takes entry i mod length. */
  readonly offsetTable?: readonly number[];
}

const fnv1a64 = (text: string): bigint => {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) {
    hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & 0xffffffffffffffffn;
  }
  return hash;
};

/** Upper 32 bits of a product of two 32-bit numbers, from 16-bit halves: doubles would round. */
const multiplyHigh = (a: number, b: number): number => {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const low = Math.imul(a0, b0) >>> 16;
  const cross0 = Math.imul(a0, b1);
  const cross1 = Math.imul(a1, b0);
  const middle = low + (cross0 & 0xffff) + (cross1 & 0xffff);
  return (Math.imul(a1, b1) + (cross0 >>> 16) + (cross1 >>> 16) + (middle >>> 16)) | 0;
};

/** Fills `out` with the values of the tensor `name`. */
export const fillTensor = (
  name: string,
  { offset, scale, offsetTable }: FillRule,
  out: Float32Array,
): Float32Array => {
  const seed = fnv1a64(name);
  let stateHigh = Number(seed >> 32n) | 0;
  let stateLow = Number(seed & 0xffffffffn) | 0;
  for (let i = 0; i < out.length; i++) {
    // 64-bit numbers as two halves: state += G
    const sum = (stateLow >>> 0) + 0x7f4a7c15;
    stateLow = sum | 0;
    stateHigh = (stateHigh + 0x9e3779b9 + (sum > 0xffffffff ? 1 : 0)) | 0;
    // z = (state ^ state >> 30) · 0xBF58476D1CE4E5B9
    const low1 = stateLow ^ ((stateLow >>> 30) | (stateHigh << 2));
    const high1 = stateHigh ^ (stateHigh >>> 30);
    const high2 =
      (multiplyHigh(low1, 0x1ce4e5b9) + Math.imul(high1, 0x1ce4e5b9) + Math.imul(low1, 0xbf58476d)) | 0;
    const low2 = Math.imul(low1, 0x1ce4e5b9);
    // z = (z ^ z >> 27) · 0x94D049BB133111EB, of which only the upper half is needed
    const low3 = low2 ^ ((low2 >>> 27) | (high2 << 5));
    const high3 = high2 ^ (high2 >>> 27);
    const high4 =
      (multiplyHigh(low3, 0x133111eb) + Math.imul(high3, 0x133111eb) + Math.imul(low3, 0x94d049bb)) | 0;
    const u = ((high4 ^ (high4 >>> 31)) >>> 8) / 16777216;
    out[i] = (offsetTable ? offsetTable[i % offsetTable.length]! : offset) + scale * (2 * u - 1);
  }
  return out;
};

/** What each output of a linear or a convolution sums up. */
export const fanIn = (shape: readonly number[]): number => elementCount(shape.slice(1));

/** Uniform weights that keep the variance of their input. */
const linearScale = (inputs: number): number => Math.sqrt(3 / inputs);

/** A tensor's part in the model decides its range; the first rule that knows the name applies. */
const ROLES: readonly [RegExp, (shape: readonly number[]) => FillRule][] = [
  [
    /\.As_log$/,
    ([, n]) => ({
      offset: 0,
      scale: 0.2,
      offsetTable: Array.from({ length: n! }, (_, i) => Math.log(i + 1)),
    }),
  ],
  [/\.ssm_proj_bias$/, () => ({ offset: -4.58, scale: 2.33 })],
  [/\.Ds$/, () => ({ offset: 1, scale: 0.3 })],
  [/\.gamma$/, () => ({ offset: 0.5, scale: 0.5 })],
  [/\.pos_embed$|\.attn\.padding$/, () => ({ offset: 0, scale: 0.5 })],
  [/_gaussian_matrix$/, () => ({ offset: 0, scale: 1.7 })],
  [TABLE, () => ({ offset: 0, scale: 1 })],
  [/\.rel_pos_[hw]$/, ([, d]) => ({ offset: 0, scale: linearScale(d!) })],
  [/\.bias$/, () => ({ offset: 0, scale: 0.1 })],
  [/\.qkv\.weight$/, (shape) => ({ offset: 0, scale: 1.5 * linearScale(fanIn(shape)) })],
  // transposed convolutions have their input channels first
  [/\.output_upscaling\.\d+\.weight$/, ([inputs]) => ({ offset: 0, scale: linearScale(inputs!) })],
  [/\.weight$/, (shape) => ({ offset: 0, scale: linearScale(fanIn(shape)) })],
];

/** Range of the untrained values of a tensor, by its official or internal name. */
export const initialRule = (name: string, shape: readonly number[]): FillRule => {
  if (shape.length === 1 && name.endsWith('.weight')) return { offset: 1, scale: 0.2 };
  const role = ROLES.find(([pattern]) => pattern.test(name));
  return role ? role[1](shape) : { offset: 0, scale: 0.1 };
};

/**
 * Values of an **untrained** model's tensor.
 * @param name official name
 * @param seed 0 gives the values that the reference cases were computed with
 */
export const initialTensor = (name: string, shape: readonly number[], seed = 0): Float32Array => {
  const out = new Float32Array(elementCount(shape));
  if (name.endsWith('rope.freqs')) return out.map((_, k) => ROPE_THETA ** (-k / out.length));
  return fillTensor(seed === 0 ? name : `${name}#${seed}`, initialRule(name, shape), out);
};
