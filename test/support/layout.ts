import type { HostTensor } from './reference.js';

/** The same values with their axes in another order. */
export function permuted({ shape, data }: HostTensor, order: readonly number[]): HostTensor {
  const strides = shape.map((_, axis) => shape.slice(axis + 1).reduce((product, size) => product * size, 1));
  const target = order.map((axis) => shape[axis]!);
  const out = new Float32Array(data.length);
  const index = target.map(() => 0);
  for (let i = 0; i < out.length; i++) {
    out[i] = data[index.reduce((sum, position, axis) => sum + position * strides[order[axis]!]!, 0)]!;
    for (let axis = index.length - 1; axis >= 0; axis--) {
      if (++index[axis]! < target[axis]!) break;
      index[axis] = 0;
    }
  }
  return { shape: target, data: out };
}

/** (B, C, h, w) → (B, h, w, C) */
export const channelsLast = (map: HostTensor): HostTensor => permuted(map, [0, 2, 3, 1]);

/** (B, h, w, C) → (B, C, h, w) */
export const channelsFirst = (map: HostTensor): HostTensor => permuted(map, [0, 3, 1, 2]);

export const reshaped = ({ data }: HostTensor, shape: readonly number[]): HostTensor => ({ shape, data });

/** Item `index` of the leading axis, which is kept. */
export function item({ shape, data }: HostTensor, index: number): HostTensor {
  const size = data.length / shape[0]!;
  return { shape: [1, ...shape.slice(1)], data: data.slice(index * size, (index + 1) * size) };
}

/** Every `step`-th row and column of (…, h, w), from 0. */
export function strided({ shape, data }: HostTensor, step: number): HostTensor {
  const [h, w] = shape.slice(-2) as [number, number];
  const out: number[] = [];
  for (let start = 0; start < data.length; start += h * w) {
    for (let y = 0; y < h; y += step) for (let x = 0; x < w; x += step) out.push(data[start + y * w + x]!);
  }
  return {
    shape: [...shape.slice(0, -2), Math.ceil(h / step), Math.ceil(w / step)],
    data: Float32Array.from(out),
  };
}
