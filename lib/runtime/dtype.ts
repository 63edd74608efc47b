/** Element types of tensors. bf16 is the upper half of an f32. */
export const DTYPES = ['f32', 'bf16', 'i32', 'u8'] as const;
export type DType = (typeof DTYPES)[number];

const BYTES: Record<DType, number> = { f32: 4, bf16: 2, i32: 4, u8: 1 };

export const bytesPerElement = (dtype: DType): number => BYTES[dtype];

export type Shape = readonly number[];

export const elementCount = (shape: Shape): number => shape.reduce((product, size) => product * size, 1);

export const byteCount = (shape: Shape, dtype: DType): number => elementCount(shape) * BYTES[dtype];
