import { existsSync } from 'node:fs';
import { readdir, readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HrsamError } from '../../lib/errors.js';
import { elementBytes, FILE_DTYPES } from '../../lib/weights/dtypes.js';
import { SafetensorsFile } from '../../lib/weights/safetensors.js';
import { type TensorToWrite, writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { scratch } from '../support/files.js';
import { encodeSafetensors } from '../support/safetensors.js';
import { fuzzRuns, rejection } from './support/expect.js';

/** A file with this header text and this many bytes of data. */
const file = (header: string | Uint8Array, dataBytes = 0, length?: bigint): Uint8Array => {
  const text = Buffer.from(header);
  const out = Buffer.alloc(8 + text.length + dataBytes);
  out.writeBigUInt64LE(length ?? BigInt(text.length));
  text.copy(out, 8);
  return new Uint8Array(out);
};

const tensor = (dtype: string, shape: unknown, offsets: unknown) =>
  JSON.stringify({ dtype, shape, data_offsets: offsets });

const open = (bytes: string | Uint8Array) => SafetensorsFile.open(bytes);

const folder = scratch('hrsam-safetensors-')();

describe('reading', () => {
  it('gives names, types, shapes and places', async () => {
    const header = `{"__metadata__":{"format":"pt"},"a":${tensor('F32', [2, 1], [0, 8])},"b":${tensor('U8', [], [8, 9])}}`;
    const bytes = file(header, 9);
    bytes.set(new Uint8Array(Float32Array.of(1.5, -2).buffer), bytes.length - 9);
    bytes[bytes.length - 1] = 7;
    await using opened = await open(bytes);
    const start = 8 + header.length;
    expect([...opened.tensors.values()]).toEqual([
      { name: 'a', dtype: 'F32', shape: [2, 1], offset: start, byteLength: 8 },
      { name: 'b', dtype: 'U8', shape: [], offset: start + 8, byteLength: 1 },
    ]);
    expect([...opened.metadata]).toEqual([['format', 'pt']]);
    expect(await opened.read('a')).toEqual(Float32Array.of(1.5, -2));
    expect(await opened.read('b')).toEqual(Uint8Array.of(7));
  });

  it('takes files without tensors and tensors without elements', async () => {
    expect((await open(file('{}'))).tensors.size).toBe(0);
    const opened = await open(
      file(`{"e":${tensor('F32', [0, 5], [0, 0])},"f":${tensor('I8', [1], [0, 1])}}`, 1),
    );
    expect(await opened.read('e')).toEqual(new Float32Array(0));
  });

  it('takes names of prototypes as names', async () => {
    const opened = await open(
      file(`{"__proto__":${tensor('U8', [1], [0, 1])},"constructor":${tensor('U8', [1], [1, 2])}}`, 2),
    );
    expect([...opened.tensors.keys()]).toEqual(['__proto__', 'constructor']);
    expect(({} as Record<string, unknown>).dtype).toBeUndefined();
  });

  it('names the tensors there are when one is not', async () => {
    const opened = await open(file(`{"a":${tensor('U8', [1], [0, 1])}}`, 1));
    const error = await rejection(opened.read('b'));
    expect(error.message).toMatch(/no such tensor; expected \[a\]; got b/);
  });

  it('reads a tensor of a file without reading the rest', async () => {
    const path = join(folder, 'sparse.safetensors');
    const gigabytes = 12 * 2 ** 30;
    const header = `{"big":${tensor('U8', [gigabytes], [0, gigabytes])},"end":${tensor('U8', [3], [gigabytes, gigabytes + 3])}}`;
    await writeFile(path, file(header));
    await truncate(path, 8 + header.length + gigabytes + 3);
    await using opened = await open(path);
    expect(opened.tensors.get('end')!.offset).toBe(8 + header.length + gigabytes);
    expect(await opened.read('end')).toEqual(new Uint8Array(3));
    await rm(path);
  });

  it('says when there is no file, or no regular one', async () => {
    const missing = await rejection(open(join(folder, 'none.safetensors')));
    expect(missing).toMatchObject({ code: 'ERR_FILE', where: join(folder, 'none.safetensors') });
    expect(missing.message).toMatch(/does not exist/);
    expect((await rejection(open(folder))).message).toMatch(/not a regular file/);
    expect((await rejection(open('/dev/zero'))).message).toMatch(/not a regular file/);
  });
});

describe('every way to be wrong', () => {
  const one = tensor('F32', [2], [0, 8]);
  it.each<[string, Uint8Array, RegExp]>([
    ['an empty file', new Uint8Array(0), /too short .* at least 8 bytes; got 0/],
    ['seven bytes', new Uint8Array(7), /too short/],
    [
      'a header over 100 MB',
      file('{}', 0, 100_000_001n),
      /header is too long; expected at most 100000000 bytes; got 100000001/,
    ],
    ['a header of 2^64 - 1 bytes', file('{}', 0, 2n ** 64n - 1n), /too long.*18446744073709551615/],
    [
      'a JPEG picture',
      Buffer.from('ffd8ffe000104a46494600', 'hex'),
      /no safetensors file; got bytes ffd8ffe0/,
    ],
    ['no header', file('', 0), /header is too short/],
    ['a header beyond the file', file('{}', 0, 3n), /header is cut off; expected 11 bytes; got 10 bytes/],
    ['another first byte', file(' {}'), /does not start with \{.*0x20/],
    ['a byte order mark', file('\ufeff{}'), /does not start with \{/],
    [
      'bytes that are not UTF-8',
      file(Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d])),
      /not valid UTF-8/,
    ],
    ['an overlong encoding', file(Buffer.from([0x7b, 0x22, 0xc0, 0xaf, 0x22, 0x7d])), /not valid UTF-8/],
    ['broken JSON', file('{"a"'), /ends too early/],
    ['two documents', file('{}{}'), /something follows/],
    ['a name twice', file(`{"a":${one},"a":${one}}`, 8), /a key that comes twice.*got a/],
    ['metadata twice', file('{"__metadata__":{},"__metadata__":{}}'), /twice/],
    ['a field twice', file('{"a":{"dtype":"U8","dtype":"U8","shape":[1],"data_offsets":[0,1]}}', 1), /twice/],
    ['metadata that are no object', file('{"__metadata__":[]}'), /__metadata__ is no object/],
    ['metadata that are no strings', file('{"__metadata__":{"a":1}}'), /entry a is no string/],
    ['an entry that is no object', file('{"a":3}'), /tensor a: its entry is no object/],
    [
      'an unknown field',
      file('{"a":{"dtype":"U8","shape":[0],"data_offsets":[0,0],"x":1}}'),
      /tensor a: .*unknown field.*got x/,
    ],
    ['no dtype', file('{"a":{"shape":[0],"data_offsets":[0,0]}}'), /tensor a: its entry has no dtype/],
    ['no shape', file('{"a":{"dtype":"U8","data_offsets":[0,0]}}'), /has no shape/],
    ['no offsets', file('{"a":{"dtype":"U8","shape":[0]}}'), /has no data_offsets/],
    [
      'an unknown dtype',
      file(`{"a":${tensor('F31', [0], [0, 0])}}`),
      /unknown dtype; expected F64, F32.*got F31/,
    ],
    ['a dtype of a prototype', file(`{"a":${tensor('constructor', [0], [0, 0])}}`), /unknown dtype/],
    ['a negative size', file(`{"a":${tensor('U8', [-1], [0, 0])}}`), /shape is no list of sizes.*-1/],
    ['a shape that is a number', file(`{"a":${tensor('U8', 3, [0, 3])}}`, 3), /shape is no list/],
    ['a size that is text', file(`{"a":${tensor('U8', ['3'], [0, 3])}}`, 3), /shape is no list/],
    ['65 dimensions', file(`{"a":${tensor('U8', Array(65).fill(1), [0, 1])}}`, 1), /too many dimensions/],
    ['one offset', file(`{"a":${tensor('U8', [1], [0])}}`, 1), /no pair of offsets/],
    ['three offsets', file(`{"a":${tensor('U8', [1], [0, 1, 1])}}`, 1), /no pair of offsets/],
    ['a negative offset', file(`{"a":${tensor('U8', [1], [-1, 0])}}`, 1), /no pair of offsets/],
    ['offsets backwards', file(`{"a":${tensor('U8', [1], [1, 0])}}`, 1), /run backwards/],
    [
      'data beyond the file',
      file(`{"a":${tensor('U8', [2], [0, 2])}}`, 1),
      /outside the file; expected an end of at most 1; got 2/,
    ],
    [
      'a shape that overflows',
      file(`{"a":${tensor('F32', [2 ** 31, 2 ** 31], [0, 4])}}`, 4),
      /shape overflows/,
    ],
    [
      'an overflow behind a zero',
      file(`{"a":${tensor('F32', [2 ** 52, 2 ** 52, 0], [0, 0])}}`),
      /shape overflows/,
    ],
    [
      'fewer bytes than elements',
      file(`{"a":${tensor('F32', [2], [0, 4])}}`, 4),
      /do not fit its shape and dtype; expected 8 bytes for F32 \[2\]; got 4/,
    ],
    ['more bytes than elements', file(`{"a":${tensor('F32', [1], [0, 8])}}`, 8), /do not fit/],
    [
      'an overlap',
      file(`{"a":${one},"b":${tensor('F32', [2], [4, 12])}}`, 12),
      /tensor b: its data overlap those of a/,
    ],
    ['the same place twice', file(`{"a":${one},"b":${one}}`, 8), /overlap/],
    ['a hole at the start', file(`{"a":${tensor('U8', [1], [1, 2])}}`, 2), /hole before its data/],
    [
      'a hole between',
      file(`{"a":${one},"b":${tensor('U8', [1], [9, 10])}}`, 10),
      /tensor b: there is a hole/,
    ],
    ['bytes behind the last tensor', file(`{"a":${one}}`, 9), /belong to no tensor/],
    ['bytes and no tensor', file('{}', 1), /belong to no tensor/],
  ])('%s', async (_, bytes, message) => {
    const error = await rejection(open(bytes));
    expect(error.code).toBe('ERR_WEIGHTS');
    expect(error.message).toMatch(message);
    expect(error.where).toMatch(/^\(in memory\)/);
  });

  it('a file cut at any byte', async () => {
    const whole = await encodeSafetensors(
      [
        { name: 'a', dtype: 'F32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
        { name: 'b', dtype: 'BF16', shape: [3], data: Uint16Array.of(1, 2, 3) },
      ],
      { metadata: [['key', 'value']] },
    );
    for (let length = 0; length < whole.length; length++) {
      const error = await rejection(open(whole.subarray(0, length)));
      expect(error.code).toBe('ERR_WEIGHTS');
    }
  });

  it('a header with any bit flipped is an error or another valid header, never a crash', async () => {
    const whole = await encodeSafetensors([
      { name: 'ab', dtype: 'F32', shape: [2, 2], data: new Float32Array(4) },
    ]);
    let rejected = 0;
    for (let bit = 0; bit < 8 * (whole.length - 16); bit++) {
      const flipped = whole.slice();
      flipped[bit >> 3]! ^= 1 << (bit & 7);
      const opened = await open(flipped).catch((error: unknown) => error);
      if (opened instanceof SafetensorsFile) {
        for (const name of opened.tensors.keys()) await opened.read(name);
      } else {
        expect(opened).toBeInstanceOf(HrsamError);
        rejected++;
      }
    }
    expect(rejected).toBeGreaterThan(4 * (whole.length - 16));
  });

  it('a file that lost its tail after it was opened', async () => {
    const path = join(folder, 'shrinks.safetensors');
    await writeSafetensors(path, [{ name: 'a', dtype: 'U8', shape: [100], data: new Uint8Array(100) }]);
    await using opened = await open(path);
    await truncate(path, 100);
    const error = await rejection(opened.read('a'));
    expect(error).toMatchObject({ code: 'ERR_FILE', where: path });
  });
});

describe('writing', () => {
  const tensorArbitrary = fc
    .record({
      dtype: fc.constantFrom(...FILE_DTYPES),
      shape: fc.array(fc.integer({ min: 0, max: 4 }), { maxLength: 4 }),
    })
    .chain(({ dtype, shape }) => {
      const bytes = shape.reduce((a, b) => a * b, 1) * elementBytes(dtype);
      return fc.uint8Array({ minLength: bytes, maxLength: bytes }).map((data) => ({ dtype, shape, data }));
    });
  const name = fc.oneof(
    fc.string({ unit: 'grapheme' }),
    fc.constantFrom('__proto__', 'constructor', '1', '', 'a"b\\c\n'),
  );
  const dictionary = <T>(value: fc.Arbitrary<T>) =>
    fc.uniqueArray(fc.tuple(name, value), { selector: ([key]) => key, maxLength: 6 });

  it('and reading give back every name, type, shape, byte and note', async () => {
    await fc.assert(
      fc.asyncProperty(
        dictionary(tensorArbitrary),
        dictionary(fc.string({ unit: 'grapheme' })),
        async (tensors, metadata) => {
          const toWrite: TensorToWrite[] = tensors.map(([key, value]) => ({ name: key, ...value }));
          const bytes = await encodeSafetensors(toWrite, { metadata });
          expect(
            await encodeSafetensors([...toWrite].reverse(), { metadata: [...metadata].reverse() }),
          ).toEqual(bytes);
          const opened = await open(bytes);
          expect(new Map(opened.metadata)).toEqual(new Map(metadata));
          expect(new Set(opened.tensors.keys())).toEqual(new Set(tensors.map(([key]) => key)));
          for (const { name: key, dtype, shape, data } of toWrite) {
            expect(opened.tensors.get(key)).toMatchObject({ dtype, shape });
            const read = await opened.read(key);
            expect(new Uint8Array(read.buffer, read.byteOffset, read.byteLength)).toEqual(data);
            expect(opened.tensors.get(key)!.offset % elementBytes(dtype)).toBe(0);
          }
        },
      ),
      { numRuns: fuzzRuns(100) },
    );
  });

  it('puts larger elements first, reading data when their turn comes', async () => {
    const path = join(folder, 'out.safetensors');
    const tensors: TensorToWrite[] = [
      { name: 'half', dtype: 'F16', shape: [2], data: async () => Uint16Array.of(1, 2) },
      { name: 'full', dtype: 'F32', shape: [1], data: Float32Array.of(3) },
    ];
    const seen: [string, number, number][] = [];
    await writeSafetensors(path, tensors, { onProgress: (p) => seen.push([p.name, p.bytes, p.totalBytes]) });
    const bytes = await readFile(path);
    expect([...bytes.subarray(-8)]).toEqual([0, 0, 0x40, 0x40, 1, 0, 2, 0]);
    expect(seen).toEqual([
      ['full', bytes.length - 4, bytes.length],
      ['half', bytes.length, bytes.length],
    ]);
    expect((bytes.readUInt32LE(0) + 8) % 8).toBe(0);
  });

  it.each<[string, TensorToWrite, RegExp]>([
    [
      'data of another size',
      { name: 'a', dtype: 'F32', shape: [2], data: new Float32Array(3) },
      /a: .*8 bytes; got 12/,
    ],
    ['a broken shape', { name: 'a', dtype: 'F32', shape: [1.5], data: new Float32Array(3) }, /not writable/],
    [
      'a shape that overflows',
      { name: 'a', dtype: 'F32', shape: [2 ** 40, 2 ** 40], data: new Float32Array(3) },
      /not writable/,
    ],
    [
      'the name of the metadata',
      { name: '__metadata__', dtype: 'U8', shape: [0], data: new Uint8Array(0) },
      /__metadata__/,
    ],
  ])('refuses %s and leaves nothing behind', async (_, wrong, message) => {
    const path = join(folder, 'refused.safetensors');
    const good = { name: 'z', dtype: 'F64', shape: [1], data: new Float64Array(1) } as const;
    const error = await rejection(writeSafetensors(path, [good, wrong]));
    expect(error.code).toBe('ERR_ARGUMENT');
    expect(error.message).toMatch(message);
    expect((await readdir(folder)).filter((entry) => /refused|part/.test(entry))).toEqual([]);
  });

  it('refuses a name twice', async () => {
    const twice = { name: 'a', dtype: 'U8', shape: [0], data: new Uint8Array(0) } as const;
    expect((await rejection(encodeSafetensors([twice, twice]))).message).toMatch(/one name/);
  });

  it('keeps the old file when writing fails, and says where', async () => {
    const path = join(folder, 'kept.safetensors');
    await writeFile(path, 'old');
    const failing = {
      name: 'a',
      dtype: 'U8',
      shape: [1],
      data: () => Promise.reject(new Error('disk')),
    } as const;
    const error = await rejection(writeSafetensors(path, [failing]));
    expect(error).toMatchObject({ code: 'ERR_FILE', where: path });
    expect(await readFile(path, 'utf8')).toBe('old');
    const told = new TypeError('of the caller');
    const onProgress = () => {
      throw told;
    };
    const data = new Uint8Array(1);
    const calling = writeSafetensors(path, [{ ...failing, data }], { onProgress });
    await expect(calling).rejects.toBe(told);
    expect(await readFile(path, 'utf8')).toBe('old');
    const nowhere = await rejection(writeSafetensors(join(folder, 'no', 'such.safetensors'), []));
    expect(nowhere).toMatchObject({ code: 'ERR_FILE', message: expect.stringContaining('(ENOENT)') });
  });

  it.skipIf(!existsSync('/dev/full'))('says that a disk is full', async () => {
    const full = await rejection(writeSafetensors('/dev/full', []));
    expect(full.message).toBe('/dev/full: cannot be written (ENOSPC)');
  });

  it('takes the longest name that a file can have', async () => {
    const path = join(folder, 'x'.repeat(255));
    await writeSafetensors(path, []);
    expect((await readFile(path)).length).toBeGreaterThan(8);
    const error = await rejection(writeSafetensors(`${path}x`, []));
    expect(error.message).toContain('cannot be written (ENAMETOOLONG)');
    expect((await readdir(folder)).filter((entry) => entry.endsWith('.part'))).toEqual([]);
  });
});
