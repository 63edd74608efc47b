/** Element types of tensors. bf16 is the upper half of an f32. */
export const DTYPES = ['f32', 'bf16', 'i32', 'u8'] as const;
/** Element types of tensors. bf16 is the upper half of an f32. */
export type DType = (typeof DTYPES)[number];

const BYTES: Record<DType, number> = { f32: 4, bf16: 2, i32: 4, u8: 1 };

/** Sizes of a tensor's axes, whole numbers from 0, the last the one that is contiguous; 6 at most. */
export type Shape = readonly number[];

/** As in native/include/hrsam_backend.h. */
export const MAX_RANK = 6;

export const elementCount = (shape: Shape): number => shape.reduce((product, size) => product * size, 1);

export const byteCount = (shape: Shape, dtype: DType): number => elementCount(shape) * BYTES[dtype];
