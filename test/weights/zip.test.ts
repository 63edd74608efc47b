import { describe, expect, it } from 'vitest';
import { openSource } from '../../lib/weights/source.js';
import { readZip, readZipEntry } from '../../lib/weights/zip.js';
import { rejection } from './support/expect.js';
import { writeZip, type ZipInput, type ZipOptions } from './support/zip_writer.js';

const text = (value: string) => new TextEncoder().encode(value);

const read = async (inputs: readonly ZipInput[], options?: ZipOptions) => {
  const source = await openSource(writeZip(inputs, options));
  const entries = await readZip(source);
  const contents = new Map<string, string>();
  for (const entry of entries.values()) {
    contents.set(entry.name, new TextDecoder().decode(await readZipEntry(source, entry)));
  }
  return { entries, contents };
};

const a = { name: 'x/a', data: text('hello') };
const b = { name: 'x/b', data: text('b'.repeat(500)), deflate: true };

describe('readZip', () => {
  it.each<[string, ZipOptions]>([
    ['a plain archive', {}],
    ['ZIP64', { zip64: true }],
    ['an archive with a comment', { comment: 'made by PK\x05\x06 hand' }],
    ['entries without alignment', { align: 1 }],
  ])('reads %s', async (_, options) => {
    const { entries, contents } = await read([a, b], options);
    expect([...contents]).toEqual([
      ['x/a', 'hello'],
      ['x/b', 'b'.repeat(500)],
    ]);
    expect(entries.get('x/a')).toMatchObject({ stored: true, size: 5, compressedSize: 5 });
    expect(entries.get('x/a')!.offset % (options.align ?? 64)).toBe(0);
    expect(entries.get('x/b')!.compressedSize).toBeLessThan(50);
  });

  it('reads an empty archive', async () => {
    expect((await read([])).entries.size).toBe(0);
  });

  const big = { ...b, data: new Uint8Array(4 << 20) };
  it.each<[string, readonly ZipInput[], ZipOptions, RegExp]>([
    ['two entries of one name', [a, a], {}, /two entries of one name.*x\/a/],
    ['a name that climbs', [{ ...a, name: 'x/../../etc/passwd' }], {}, /unsafe name/],
    ['an absolute name', [{ ...a, name: '/etc/passwd' }], {}, /unsafe name/],
    ['a name with a backslash', [{ ...a, name: 'x\\a' }], {}, /unsafe name/],
    ['a name with a drive', [{ ...a, name: 'c:x' }], {}, /unsafe name/],
    ['a name with a NUL', [{ ...a, name: 'x\0' }], {}, /unsafe name/],
    ['no name', [{ ...a, name: '' }], {}, /unsafe name/],
    ['encryption', [{ ...a, flags: 1 }], {}, /encrypted/],
    ['an unknown packing', [{ ...a, method: 12 }], {}, /unknown way; expected stored or deflated; got 12/],
    ['another local name', [{ ...a, localName: 'x/z' }], {}, /not where the directory says/],
    ['a longer local name', [{ ...a, localName: 'x/ab' }], {}, /not where the directory says/],
    ['a header offset into data', [a, b], { offsets: { 'x/b': 70 } }, /not where the directory says/],
    ['an offset beyond the file', [a], { offsets: { 'x/a': 1e6 } }, /truncated/],
    ['a 64-bit offset beyond reason', [a], { zip64: true, offsets: { 'x/a': 2 ** 60 } }, /truncated/],
    [
      'overlapping entries',
      [a, { ...a, name: 'x/c', localName: 'x/a' }],
      { offsets: { 'x/c': 0 } },
      /not where/,
    ],
    ['a stored entry with two sizes', [{ ...a, size: 6 }], {}, /stored, yet has two sizes/],
    ['a checksum that differs', [{ ...a, crc: 1 }], {}, /CRC-32 differs; expected 00000001; got 3610a686/],
    ['an unpacked size that is too small', [{ ...b, size: 499 }], {}, /does not unpack to 499 bytes/],
    ['an unpacked size that is too large', [{ ...b, size: 501 }], {}, /unpacks to another size/],
    ['an impossible ratio', [{ ...b, size: 1 << 28 }], {}, /more than is possible/],
    [
      'a bomb',
      [{ ...big, size: 2 ** 31, data: new Uint8Array(16 << 20) }],
      { zip64: true },
      /possible|too large/,
    ],
    ['a bomb with a false size', [{ ...big, size: 1000 }], {}, /does not unpack to 1000 bytes/],
    ['more entries than there are', [a], { count: 2 }, /entry 1 of the zip directory is broken/],
    ['fewer entries than there are', [a, b], { count: 1 }, /longer than its entries/],
    ['too many entries', [a], { zip64: true, count: 100_001 }, /too many zip entries/],
  ])('rejects %s', async (_, inputs, options, message) => {
    const error = await rejection(read(inputs, options));
    expect(error.code).toBe('ERR_WEIGHTS');
    expect(error.message).toMatch(message);
  });

  it.each<[string, ZipOptions, (bytes: DataView, end: number, directory: number) => void, RegExp]>([
    ['an archive of several files', {}, (bytes, end) => bytes.setUint16(end + 4, 1, true), /several files/],
    [
      'a ZIP64 record that is not there',
      { zip64: true },
      (bytes, end) => bytes.setBigUint64(end - 12, 0n, true),
      /leads nowhere/,
    ],
    [
      'a directory beyond reason',
      {},
      (bytes, end) => bytes.setUint32(end + 12, 2 ** 31, true),
      /directory is too large/,
    ],
    [
      'an entry of the directory that is cut off',
      {},
      (bytes, _, directory) => bytes.setUint16(directory + 30, 0xffff, true),
      /cut off/,
    ],
    ['an entry that is packed in two ways', {}, (bytes) => bytes.setUint16(8, 8, true), /two ways/],
    [
      'an entry that goes on in the directory',
      {},
      (bytes, _, directory) => bytes.setBigUint64(directory + 20, (6n << 32n) | 6n, true),
      /overlaps the directory/,
    ],
    [
      'an entry that is larger than the file',
      {},
      (bytes, _, directory) => bytes.setBigUint64(directory + 20, (1000n << 32n) | 1000n, true),
      /larger than the file/,
    ],
  ])('rejects %s', async (_, options, edit, message) => {
    const bytes = writeZip([a], options);
    const data = new DataView(bytes.buffer);
    const end = bytes.length - 22;
    edit(data, end, data.getUint32(end + 16, true));
    const error = await rejection(openSource(bytes).then(readZip));
    expect(error.code).toBe('ERR_WEIGHTS');
    expect(error.message).toMatch(message);
  });

  it('rejects entries that share bytes', async () => {
    // an entry whose data holds another entry, both in the directory
    const inner = writeZip([{ name: 'in', data: text('secret') }], { align: 1 });
    const outer = { name: 'out', data: inner };
    const error = await rejection(
      read([outer, { name: 'in', data: text('secret') }], { align: 1, offsets: { in: 33 } }),
    );
    expect(error.message).toMatch(/zip entry in overlaps another/);
  });

  it('rejects broken deflate data', async () => {
    const bytes = writeZip([b], { align: 1 });
    bytes.fill(0xff, 33, 40);
    const source = await openSource(bytes);
    const entry = (await readZip(source)).get('x/b')!;
    expect((await rejection(readZipEntry(source, entry))).message).toMatch(/does not unpack/);
  });

  it('rejects what is no archive', async () => {
    for (const bytes of [new Uint8Array(10), new Uint8Array(1000), text('PK\x03\x04'.repeat(20))]) {
      expect((await rejection(openSource(bytes).then(readZip))).code).toBe('ERR_WEIGHTS');
    }
  });
});
