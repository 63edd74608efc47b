import { promisify } from 'node:util';
import { inflate } from 'node:zlib';
import { HrsamError } from '../../errors.js';
import { readRegular } from '../../files.js';
import { elementCount } from '../../runtime/dtype.js';

/** A value of a MATLAB file: numbers in column order, a cell array, or a struct's fields. */
export type MatValue =
  | { kind: 'numbers'; dims: number[]; values: number[] | ArrayLike<number> }
  | { kind: 'cells'; dims: number[]; cells: MatValue[] }
  | { kind: 'struct'; dims: number[]; fields: Record<string, MatValue> }
  | { kind: 'other' };

/** Largest file, and what it may inflate to: annotations are a few megabytes. */
const MAX_BYTES = 2 ** 28;
const MAX_DEPTH = 16;

const TYPE = { matrix: 14, compressed: 15 } as const;
const CLASS = { cell: 1, struct: 2, firstNumber: 6, lastNumber: 15 } as const;

/** Bytes per value and how one is read, by the format's type number. */
const NUMBERS: Record<number, [number, (view: DataView, at: number) => number]> = {
  1: [1, (view, at) => view.getInt8(at)],
  2: [1, (view, at) => view.getUint8(at)],
  3: [2, (view, at) => view.getInt16(at, true)],
  4: [2, (view, at) => view.getUint16(at, true)],
  5: [4, (view, at) => view.getInt32(at, true)],
  6: [4, (view, at) => view.getUint32(at, true)],
  7: [4, (view, at) => view.getFloat32(at, true)],
  9: [8, (view, at) => view.getFloat64(at, true)],
  12: [8, (view, at) => Number(view.getBigInt64(at, true))],
  13: [8, (view, at) => Number(view.getBigUint64(at, true))],
};

interface Element {
  type: number;
  data: Uint8Array;
  end: number;
}

/**
 * The variables of a MATLAB 5 file, little-endian, compressed or not: real numbers, cells and structs (the first of an
 * array of structs). That is what annotations are stored as (BSDS500).
 * @throws HrsamError ERR_FILE, ERR_IMAGE
 */
export async function readMat(path: string): Promise<Record<string, MatValue>> {
  const bytes = await readRegular(path, MAX_BYTES);
  const fail = (what: string): never => {
    throw new HrsamError('ERR_IMAGE', `not a readable MATLAB 5 file: ${what}`, { where: path });
  };
  if (bytes.length < 128 || bytes.toString('latin1', 126, 128) !== 'IM') fail('no little-endian header');
  const variables: Record<string, MatValue> = {};
  try {
    for (let at = 128; at + 8 <= bytes.length; ) {
      let element = elementAt(bytes, at);
      at = element.end;
      if (element.type === TYPE.compressed) {
        const whole = await promisify(inflate)(element.data, { maxOutputLength: MAX_BYTES });
        element = elementAt(whole, 0);
      }
      if (element.type !== TYPE.matrix) continue;
      const { name, value } = matrix(element.data, 0);
      variables[name] = value;
    }
  } catch (cause) {
    fail((cause as Error).message);
  }
  return variables;
}

function elementAt(bytes: Uint8Array, at: number): Element {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  if (at + 8 > bytes.length) throw new Error('truncated');
  const word = view.getUint32(at, true);
  // Up to four bytes of data lie inside the tag.
  const small = word >>> 16;
  const [type, length, begin] = small
    ? [word & 0xffff, small, at + 4]
    : [word, view.getUint32(at + 4, true), at + 8];
  if (begin + length > bytes.length) throw new Error('truncated');
  const padded = type === TYPE.compressed ? length : Math.ceil(length / 8) * 8;
  return { type, data: bytes.subarray(begin, begin + length), end: small ? at + 8 : begin + padded };
}

function numbers({ type, data }: Element): number[] {
  const kind = NUMBERS[type];
  if (!kind) throw new Error(`numbers of type ${type}`);
  const [size, read] = kind;
  const view = new DataView(data.buffer, data.byteOffset, data.length);
  return Array.from({ length: Math.floor(data.length / size) }, (_, i) => read(view, i * size));
}

function matrix(bytes: Uint8Array, depth: number): { name: string; value: MatValue } {
  if (depth > MAX_DEPTH) throw new Error('nested too deeply');
  if (bytes.length === 0) return { name: '', value: { kind: 'numbers', dims: [0, 0], values: [] } };
  let at = 0;
  const next = (): Element => {
    const element = elementAt(bytes, at);
    at = element.end;
    return element;
  };
  const flags = numbers(next())[0] ?? 0;
  const dims = numbers(next());
  const name = Buffer.from(next().data).toString('latin1');
  const count = elementCount(dims);
  if (!(count >= 0 && count <= MAX_BYTES)) throw new Error(`an array of ${dims.join(' x ')}`);
  const child = (): MatValue => matrix(next().data, depth + 1).value;
  const kind = flags & 0xff;
  if (kind === CLASS.cell)
    return { name, value: { kind: 'cells', dims, cells: Array.from({ length: count }, child) } };
  if (kind === CLASS.struct) {
    const width = numbers(next())[0] ?? 0;
    const names = Buffer.from(next().data).toString('latin1');
    if (width < 1) throw new Error('field names without a length');
    const fields: Record<string, MatValue> = {};
    for (let i = 0; count > 0 && i < names.length / width; i++) {
      const field = names.slice(i * width, (i + 1) * width).split('\0', 1)[0]!;
      fields[field] = child();
    }
    return { name, value: { kind: 'struct', dims, fields } };
  }
  if (kind < CLASS.firstNumber || kind > CLASS.lastNumber) return { name, value: { kind: 'other' } };
  const values = numbers(next());
  if (values.length !== count) throw new Error(`${values.length} numbers for ${dims.join(' x ')}`);
  return { name, value: { kind: 'numbers', dims, values } };
}
