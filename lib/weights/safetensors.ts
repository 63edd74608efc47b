import { HrsamError } from '../errors.js';
import {
  elementBytes,
  FILE_DTYPES,
  type FileDType,
  isFileDType,
  type StoredArray,
  storedArray,
} from './dtypes.js';
import { parseStrictJson, type StrictJson } from './json.js';
import { type ByteSource, openSource } from './source.js';

/**
 * The safetensors format: 8 bytes little-endian header length, a JSON header, the tensors' bytes. Files are untrusted:
 * whatever does not follow the format to the letter is an error, and nothing but the header is read to find out.
 */
export const MAX_HEADER_BYTES = 100_000_000;
const MAX_DIMENSIONS = 64;

/** Where a tensor's row-major little-endian values lie. */
export interface StoredTensor {
  readonly name: string;
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  /** From the start of the file. */
  readonly offset: number;
  readonly byteLength: number;
}

export interface SafetensorsHeader {
  readonly metadata: ReadonlyMap<string, string>;
  /** In the order of the header. */
  readonly tensors: ReadonlyMap<string, StoredTensor>;
}

const bad = (where: string, summary: string, expected?: unknown, actual?: unknown): never => {
  throw new HrsamError('ERR_WEIGHTS', summary, { where, expected, actual });
};

/** Bytes of a tensor, or undefined when shape × type is no safe integer. */
export const tensorBytes = (dtype: FileDType, shape: readonly number[]): number | undefined => {
  let bytes = elementBytes(dtype);
  // dimension by dimension, so that a zero cannot hide an overflow before it
  for (const size of shape) {
    bytes *= size;
    if (!Number.isSafeInteger(bytes)) return undefined;
  }
  return bytes;
};

const isSize = (value: StrictJson | undefined): value is number => typeof value === 'number' && value >= 0;

const describe = (value: StrictJson | undefined): string => {
  if (value instanceof Map) return 'an object';
  return Array.isArray(value) ? `[${value.slice(0, 8).map(describe).join(', ')}]` : String(value);
};

const parseMetadata = (value: StrictJson, where: string): Map<string, string> => {
  if (!(value instanceof Map))
    return bad(where, '__metadata__ is no object', 'strings by name', describe(value));
  for (const [key, text] of value) {
    if (typeof text !== 'string')
      bad(where, `__metadata__ entry ${key} is no string`, 'a string', describe(text));
  }
  return value as Map<string, string>;
};

const parseTensor = (
  name: string,
  value: StrictJson,
  dataStart: number,
  size: number,
  file: string,
): StoredTensor => {
  const where = `${file}: tensor ${name.slice(0, 200)}`;
  if (!(value instanceof Map))
    return bad(where, 'its entry is no object', '{dtype, shape, data_offsets}', describe(value));
  for (const key of value.keys()) {
    if (key !== 'dtype' && key !== 'shape' && key !== 'data_offsets') {
      bad(where, 'its entry has an unknown field', 'dtype, shape, data_offsets', key);
    }
  }
  for (const key of ['dtype', 'shape', 'data_offsets']) {
    if (!value.has(key)) bad(where, `its entry has no ${key}`);
  }
  const dtype = value.get('dtype');
  if (typeof dtype !== 'string' || !isFileDType(dtype)) {
    return bad(where, 'unknown dtype', FILE_DTYPES.join(', '), describe(dtype));
  }
  const shape = value.get('shape');
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    return bad(where, 'its shape is no list of sizes', 'integers ≥ 0', describe(shape));
  }
  if (shape.length > MAX_DIMENSIONS)
    bad(where, 'too many dimensions', `at most ${MAX_DIMENSIONS}`, shape.length);
  const offsets = value.get('data_offsets');
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize)) {
    return bad(where, 'its data_offsets are no pair of offsets', '[begin, end]', describe(offsets));
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) bad(where, 'its data_offsets run backwards', 'begin ≤ end', offsets);
  if (end > size) bad(where, 'its data lie outside the file', `an end of at most ${size}`, end);
  const bytes = tensorBytes(dtype, shape);
  if (bytes === undefined) return bad(where, 'its shape overflows', 'a byte count of at most 53 bits', shape);
  if (bytes !== end - begin) {
    bad(
      where,
      'its data_offsets do not fit its shape and dtype',
      `${bytes} bytes for ${dtype} [${shape}]`,
      end - begin,
    );
  }
  return { name, dtype, shape, offset: dataStart + begin, byteLength: bytes };
};

/** Every byte of the buffer belongs to exactly one tensor. */
const checkCover = (
  tensors: Iterable<StoredTensor>,
  dataStart: number,
  fileSize: number,
  file: string,
): void => {
  const sorted = [...tensors].sort((a, b) => a.offset - b.offset || a.byteLength - b.byteLength);
  let at = dataStart;
  let previous = '';
  for (const { name, offset, byteLength } of sorted) {
    const where = `${file}: tensor ${name.slice(0, 200)}`;
    if (offset < at)
      bad(
        where,
        `its data overlap those of ${previous.slice(0, 200)}`,
        `begin ≥ ${at - dataStart}`,
        offset - dataStart,
      );
    if (offset > at)
      bad(where, 'there is a hole before its data', `begin = ${at - dataStart}`, offset - dataStart);
    at = offset + byteLength;
    previous = name;
  }
  if (at !== fileSize)
    bad(file, 'bytes that belong to no tensor follow the last one', at, `${fileSize} bytes`);
};

/**
 * Reads and checks a file's header; of the data, nothing.
 * @throws HrsamError ERR_WEIGHTS with file, tensor, what was expected and what came
 */
export const readSafetensorsHeader = async (source: ByteSource): Promise<SafetensorsHeader> => {
  const file = source.name;
  if (source.size < 8) return bad(file, 'too short for a safetensors file', 'at least 8 bytes', source.size);
  const prefix = await source.read(0, 8);
  const length = new DataView(prefix.buffer).getBigUint64(0, true);
  if (length > source.size - 8 && source.size > 8 && (await source.read(8, 1))[0] !== 0x7b) {
    bad(file, 'is no safetensors file', undefined, `bytes ${Buffer.from(prefix).toString('hex')} …`);
  }
  if (length > BigInt(MAX_HEADER_BYTES))
    bad(file, 'its header is too long', `at most ${MAX_HEADER_BYTES} bytes`, length);
  const headerBytes = Number(length);
  if (headerBytes < 2) bad(file, 'its header is too short', 'at least {}', `${headerBytes} bytes`);
  if (8 + headerBytes > source.size) {
    bad(file, 'its header is cut off', `${8 + headerBytes} bytes`, `${source.size} bytes`);
  }
  const bytes = await source.read(8, headerBytes);
  if (bytes[0] !== 0x7b) bad(file, 'its header does not start with {', '0x7b', `0x${bytes[0]!.toString(16)}`);
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return bad(file, 'its header is not valid UTF-8');
  }
  // the text starts with {, so that this is an object
  const header = parseStrictJson(text, file) as Map<string, StrictJson>;
  const dataStart = 8 + headerBytes;
  let metadata = new Map<string, string>();
  const tensors = new Map<string, StoredTensor>();
  for (const [name, value] of header) {
    if (name === '__metadata__') metadata = parseMetadata(value, file);
    else tensors.set(name, parseTensor(name, value, dataStart, source.size - dataStart, file));
  }
  checkCover(tensors.values(), dataStart, source.size, file);
  return { metadata, tensors };
};

/** An open safetensors file: its header in memory, its tensors read one by one. Close it after use. */
export class SafetensorsFile implements SafetensorsHeader {
  readonly metadata: ReadonlyMap<string, string>;
  readonly tensors: ReadonlyMap<string, StoredTensor>;

  private constructor(
    private readonly source: ByteSource,
    header: SafetensorsHeader,
  ) {
    this.metadata = header.metadata;
    this.tensors = header.tensors;
  }

  /** @param input a path, or the bytes of a file */
  static async open(input: string | Uint8Array): Promise<SafetensorsFile> {
    const source = await openSource(input);
    try {
      return new SafetensorsFile(source, await readSafetensorsHeader(source));
    } catch (error) {
      await source.close();
      throw error;
    }
  }

  /**
   * The elements of a tensor as stored: F16 and BF16 as bit patterns, 64-bit integers as bigints.
   * @throws HrsamError ERR_WEIGHTS when there is no such tensor
   */
  async read(name: string): Promise<StoredArray> {
    const tensor = this.tensors.get(name);
    if (!tensor) return bad(this.source.name, 'there is no such tensor', [...this.tensors.keys()], name);
    return storedArray(tensor.dtype, await this.source.read(tensor.offset, tensor.byteLength));
  }

  close(): Promise<void> {
    return this.source.close();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }
}
