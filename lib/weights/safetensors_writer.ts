import { open } from 'node:fs/promises';
import { HrsamError } from '../errors.js';
import { abandon, cannotWrite, finish, targetOf } from '../files.js';
import { elementBytes, type FileDType } from './dtypes.js';
import { tensorBytes } from './safetensors.js';

/** A tensor to write. `data` holds (or brings, when its turn comes) the little-endian row-major values. */
export interface TensorToWrite {
  readonly name: string;
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  readonly data: ArrayBufferView | (() => Promise<ArrayBufferView>);
}

export interface WriteOptions {
  /** Strings by name, kept under `__metadata__`. */
  metadata?: Iterable<readonly [string, string]>;
  /** Called after each tensor. */
  onProgress?: (progress: { name: string; bytes: number; totalBytes: number }) => void;
}

const bad = (summary: string, where: string, expected?: unknown, actual?: unknown): never => {
  throw new HrsamError('ERR_ARGUMENT', summary, { where, expected, actual });
};

const byteLength = ({ name, dtype, shape }: TensorToWrite): number => {
  const whole = shape.every((size) => Number.isSafeInteger(size) && size >= 0);
  const bytes = whole ? tensorBytes(dtype, shape) : undefined;
  return bytes ?? bad('the shape is not writable', name, 'non-negative integers', shape);
};

/**
 * Larger elements first, so that every tensor is aligned to its own; then by name: the same tensors give the same file.
 */
const inOrder = (tensors: Iterable<TensorToWrite>): TensorToWrite[] =>
  [...tensors].sort((a, b) => elementBytes(b.dtype) - elementBytes(a.dtype) || (a.name < b.name ? -1 : 1));

const encodeHeader = (
  tensors: readonly TensorToWrite[],
  metadata: Iterable<readonly [string, string]>,
): Uint8Array => {
  // entry by entry: an object would reorder names that look like numbers and swallow __proto__
  const entries: string[] = [];
  const sorted = [...metadata].sort(([a], [b]) => (a < b ? -1 : 1));
  if (sorted.length > 0) {
    const pairs = sorted.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`);
    entries.push(`"__metadata__":{${pairs.join(',')}}`);
  }
  const names = new Set(['__metadata__']);
  let at = 0;
  for (const tensor of tensors) {
    if (names.has(tensor.name))
      bad('two tensors cannot have one name, nor one be called __metadata__', tensor.name);
    names.add(tensor.name);
    const end = at + byteLength(tensor);
    entries.push(
      `${JSON.stringify(tensor.name)}:${JSON.stringify({ dtype: tensor.dtype, shape: tensor.shape, data_offsets: [at, end] })}`,
    );
    at = end;
  }
  const json = new TextEncoder().encode(`{${entries.join(',')}}`);
  const padded = Math.ceil(json.length / 8) * 8;
  const header = new Uint8Array(8 + padded).fill(0x20);
  new DataView(header.buffer).setBigUint64(0, BigInt(padded), true);
  header.set(json, 8);
  return header;
};

const bytesOf = async (tensor: TensorToWrite): Promise<Uint8Array> => {
  const view = typeof tensor.data === 'function' ? await tensor.data() : tensor.data;
  const expected = byteLength(tensor);
  if (view.byteLength !== expected)
    bad('the data do not fit the shape', tensor.name, `${expected} bytes`, view.byteLength);
  return new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
};

/**
 * Writes a safetensors file, one tensor in memory at a time. The file appears under its name only when complete;
 * on failure nothing is left behind.
 * @throws HrsamError ERR_FILE when it cannot be written, ERR_ARGUMENT when data do not fit their shape or names repeat
 */
export const writeSafetensors = async (
  path: string,
  tensors: Iterable<TensorToWrite>,
  { metadata = [], onProgress }: WriteOptions = {},
): Promise<void> => {
  const sorted = inOrder(tensors);
  const header = encodeHeader(sorted, metadata);
  const totalBytes = header.length + sorted.reduce((sum, tensor) => sum + byteLength(tensor), 0);
  const target = await targetOf(path);
  const fail = (cause: unknown): never => {
    throw cannotWrite(path, cause);
  };
  const file = await open(target.partial, target.path === undefined ? 'w' : 'wx').catch(fail);
  try {
    try {
      await file.writeFile(header).catch(fail);
      let bytes = header.length;
      for (const tensor of sorted) {
        const data = await bytesOf(tensor).catch(fail);
        await file.writeFile(data).catch(fail);
        bytes += data.length;
        onProgress?.({ name: tensor.name, bytes, totalBytes });
      }
      if (target.path !== undefined) await file.sync().catch(fail);
    } finally {
      await file.close().catch(fail);
    }
    await finish(target).catch(fail);
  } catch (error) {
    await abandon(target);
    throw error;
  }
};
