import { elementCount } from '../runtime/dtype.js';
import { elementBytes, type FileDType } from './dtypes.js';

/** A view of a storage; offset and strides in elements. */
export interface StridedTensor {
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  readonly strides: readonly number[];
  readonly storageOffset: number;
}

/** True when the elements lie one after another in row-major order. */
export const isContiguous = (shape: readonly number[], strides: readonly number[]): boolean => {
  if (shape.includes(0)) return true;
  let expected = 1;
  for (let i = shape.length - 1; i >= 0; i--) {
    if (shape[i] !== 1 && strides[i] !== expected) return false;
    expected *= shape[i]!;
  }
  return true;
};

/** The part of the storage, in elements, that a view touches: [first, end). */
export const touchedRange = ({ shape, strides, storageOffset }: StridedTensor): [number, number] => {
  if (shape.includes(0)) return [storageOffset, storageOffset];
  return [storageOffset, shape.reduce((last, size, i) => last + (size - 1) * strides[i]!, storageOffset) + 1];
};

/**
 * The view's elements in row-major order.
 * @param touched the bytes of its touched range
 */
export const gather = ({ dtype, shape, strides }: StridedTensor, touched: Uint8Array): Uint8Array => {
  const size = elementBytes(dtype);
  const out = new Uint8Array(elementCount(shape) * size);
  const index = new Array<number>(shape.length).fill(0);
  let from = 0;
  for (let to = 0; to < out.length; to += size) {
    for (let byte = 0; byte < size; byte++) out[to + byte] = touched[from * size + byte]!;
    // count up like an odometer, the last axis fastest
    for (let axis = shape.length - 1; axis >= 0; axis--) {
      from += strides[axis]!;
      index[axis]!++;
      if (index[axis]! < shape[axis]!) break;
      from -= strides[axis]! * shape[axis]!;
      index[axis] = 0;
    }
  }
  return out;
};
