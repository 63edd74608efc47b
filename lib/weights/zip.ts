import { promisify } from 'node:util';
import { crc32, inflateRaw } from 'node:zlib';
import { HrsamError } from '../errors.js';
import type { ByteSource } from './source.js';

/**
 * The part of the zip format that PyTorch's checkpoints use: stored (or, after repacking, deflated) entries, ZIP64. Archives are
 * untrusted: names, sizes and extents are checked before anything is read.
 */
export interface ZipEntry {
  readonly name: string;
  readonly stored: boolean;
  readonly crc32: number;
  readonly compressedSize: number;
  readonly size: number;
  /** Of the entry's bytes, from the start of the file. */
  readonly offset: number;
}

const END_SIZE = 22;
const MAX_ENTRIES = 100_000;
const MAX_DIRECTORY_BYTES = 64 << 20;
/** A deflated entry is unpacked in memory; stored ones may be as large as the file. */
const MAX_INFLATED_BYTES = 1 << 30;
/** Deflate cannot shrink further than this. */
const MAX_RATIO = 1032;

const SIGNATURE = {
  local: 0x04034b50,
  central: 0x02014b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator64: 0x07064b50,
};

const bad = (source: ByteSource, summary: string, expected?: unknown, actual?: unknown): never => {
  throw new HrsamError('ERR_WEIGHTS', summary, { where: source.name, expected, actual });
};

const view = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

const big = (data: DataView, at: number): number => Number(data.getBigUint64(at, true));

interface Directory {
  offset: number;
  size: number;
  count: number;
}

const findDirectory = async (source: ByteSource): Promise<Directory> => {
  const tailSize = Math.min(source.size, END_SIZE + 0xffff + 20);
  const tail = view(await source.read(source.size - tailSize, tailSize));
  let at = tailSize - END_SIZE;
  // the comment's length must lead to the end of the file, or the signature is part of something else
  const isEnd = (i: number) =>
    tail.getUint32(i, true) === SIGNATURE.end && i + END_SIZE + tail.getUint16(i + 20, true) === tailSize;
  while (at >= 0 && !isEnd(at)) at--;
  if (at < 0) return bad(source, 'the zip archive has no end record: it is truncated or no zip archive');
  const read16 = (offset: number) => tail.getUint16(at + offset, true);
  if (read16(4) !== 0 || read16(6) !== 0 || read16(8) !== read16(10))
    bad(source, 'the zip archive spans several files');
  const directory = {
    count: read16(10),
    size: tail.getUint32(at + 12, true),
    offset: tail.getUint32(at + 16, true),
  };
  const zip64 = at >= 20 && tail.getUint32(at - 20, true) === SIGNATURE.locator64;
  if (!zip64) return directory;
  const record = view(await source.read(big(tail, at - 20 + 8), 56));
  if (record.getUint32(0, true) !== SIGNATURE.end64) bad(source, 'the ZIP64 locator leads nowhere');
  return { count: big(record, 32), size: big(record, 40), offset: big(record, 48) };
};

/** The ZIP64 extra field replaces the 32-bit fields that are all ones, in this order. */
const zip64Fields = (extra: DataView, wanted: number, source: ByteSource, name: string): number[] => {
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const id = extra.getUint16(at, true);
    const size = extra.getUint16(at + 2, true);
    if (at + 4 + size > extra.byteLength) break;
    if (id === 1 && size >= 8 * wanted)
      return Array.from({ length: wanted }, (_, i) => big(extra, at + 4 + 8 * i));
    at += 4 + size;
  }
  return bad(source, `the ZIP64 sizes of entry ${name} are missing`);
};

const decodeName = (bytes: Uint8Array, source: ByteSource): string => {
  let name: string;
  try {
    name = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    return bad(source, 'a zip entry has a name that is not UTF-8');
  }
  const parts = name.split('/');
  if (
    name === '' ||
    name.startsWith('/') ||
    /[\\\0]|^[a-zA-Z]:/.test(name) ||
    parts.includes('..') ||
    parts.includes('.')
  ) {
    bad(source, 'a zip entry has an unsafe name', 'a relative path', JSON.stringify(name.slice(0, 100)));
  }
  return name;
};

type CentralEntry = Omit<ZipEntry, 'offset'> & { headerOffset: number; nameBytes: Uint8Array };

const parseDirectory = (bytes: Uint8Array, count: number, source: ByteSource): CentralEntry[] => {
  const data = view(bytes);
  const entries: CentralEntry[] = [];
  const names = new Set<string>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 46 > bytes.length || data.getUint32(at, true) !== SIGNATURE.central) {
      bad(source, `entry ${i} of the zip directory is broken`);
    }
    const [nameSize, extraSize, commentSize] = [28, 30, 32].map((offset) =>
      data.getUint16(at + offset, true),
    ) as [number, number, number];
    const nameEnd = at + 46 + nameSize;
    const end = nameEnd + extraSize + commentSize;
    if (end > bytes.length) bad(source, `entry ${i} of the zip directory is cut off`);
    const nameBytes = bytes.subarray(at + 46, nameEnd);
    const name = decodeName(nameBytes, source);
    if (names.has(name)) bad(source, 'the zip archive has two entries of one name', undefined, name);
    names.add(name);
    if (data.getUint16(at + 8, true) & 1) bad(source, `zip entry ${name} is encrypted`);
    const method = data.getUint16(at + 10, true);
    if (method !== 0 && method !== 8)
      bad(source, `zip entry ${name} is packed in an unknown way`, 'stored or deflated', method);
    const fields = [24, 20, 42].map((offset) => data.getUint32(at + offset, true));
    const wanted = fields.filter((field) => field === 0xffffffff).length;
    const extra = view(bytes.subarray(nameEnd, nameEnd + extraSize));
    const replacements = wanted > 0 ? zip64Fields(extra, wanted, source, name) : [];
    const [size, compressedSize, headerOffset] = fields.map((f) =>
      f === 0xffffffff ? replacements.shift()! : f,
    ) as [number, number, number];
    const crc32 = data.getUint32(at + 16, true);
    entries.push({ name, nameBytes, stored: method === 0, crc32, compressedSize, size, headerOffset });
    at = end;
  }
  if (at !== bytes.length) bad(source, 'the zip directory is longer than its entries');
  return entries;
};

const checkSizes = ({ name, stored, size, compressedSize }: CentralEntry, source: ByteSource): void => {
  if (!Number.isSafeInteger(size) || !Number.isSafeInteger(compressedSize) || compressedSize > source.size) {
    bad(source, `zip entry ${name} is larger than the file`, `at most ${source.size} bytes`, compressedSize);
  }
  if (stored && size !== compressedSize) {
    bad(source, `zip entry ${name} is stored, yet has two sizes`, compressedSize, size);
  }
  if (!stored && size > MAX_RATIO * compressedSize + 64) {
    bad(
      source,
      `zip entry ${name} claims to unpack to more than is possible`,
      `${compressedSize} packed bytes`,
      size,
    );
  }
  if (!stored && size > MAX_INFLATED_BYTES) {
    bad(source, `zip entry ${name} is too large to unpack`, `at most ${MAX_INFLATED_BYTES} bytes`, size);
  }
};

/** Finds where an entry's bytes begin: behind its local header, which must tell the same as the directory. */
const locate = async (entry: CentralEntry, source: ByteSource): Promise<ZipEntry> => {
  const { nameBytes, headerOffset, ...rest } = entry;
  const header = await source.read(headerOffset, 30 + nameBytes.length);
  const data = view(header);
  const same =
    data.getUint16(26, true) === nameBytes.length && Buffer.compare(header.subarray(30), nameBytes) === 0;
  if (data.getUint32(0, true) !== SIGNATURE.local || !same) {
    bad(source, `zip entry ${entry.name} is not where the directory says`);
  }
  if ((data.getUint16(8, true) === 0) !== entry.stored)
    bad(source, `zip entry ${entry.name} is packed in two ways`);
  return { ...rest, offset: headerOffset + 30 + nameBytes.length + data.getUint16(28, true) };
};

const checkExtents = (
  entries: readonly (ZipEntry & { start: number })[],
  directory: Directory,
  source: ByteSource,
): void => {
  let end = 0;
  for (const entry of [...entries].sort((a, b) => a.start - b.start)) {
    if (entry.start < end)
      bad(source, `zip entry ${entry.name} overlaps another`, `a start at ${end} or later`, entry.start);
    end = entry.offset + entry.compressedSize;
  }
  if (end > directory.offset)
    bad(source, 'a zip entry overlaps the directory', `an end before ${directory.offset}`, end);
};

/**
 * Reads a zip archive's directory.
 * @returns entries by name
 * @throws HrsamError ERR_WEIGHTS when the archive is damaged, hostile or of an unsupported kind
 */
export const readZip = async (source: ByteSource): Promise<Map<string, ZipEntry>> => {
  if (source.size < END_SIZE)
    bad(source, 'too short for a zip archive', `at least ${END_SIZE} bytes`, source.size);
  const directory = await findDirectory(source);
  if (directory.count > MAX_ENTRIES)
    bad(source, 'too many zip entries', `at most ${MAX_ENTRIES}`, directory.count);
  if (directory.size > MAX_DIRECTORY_BYTES) {
    bad(source, 'the zip directory is too large', `at most ${MAX_DIRECTORY_BYTES} bytes`, directory.size);
  }
  const entries = parseDirectory(
    await source.read(directory.offset, directory.size),
    directory.count,
    source,
  );
  const located = [];
  for (const entry of entries) {
    checkSizes(entry, source);
    located.push({ ...(await locate(entry, source)), start: entry.headerOffset });
  }
  checkExtents(located, directory, source);
  return new Map(located.map(({ start: _, ...entry }) => [entry.name, entry]));
};

const inflate = promisify<Uint8Array, { maxOutputLength: number }, Buffer>(inflateRaw);

/**
 * A whole entry, unpacked and compared with its checksum.
 * @throws HrsamError ERR_WEIGHTS when it does not unpack to its size, or the checksum differs
 */
export const readZipEntry = async (source: ByteSource, entry: ZipEntry): Promise<Uint8Array<ArrayBuffer>> => {
  const packed = await source.read(entry.offset, entry.compressedSize);
  let bytes = packed;
  if (!entry.stored) {
    try {
      bytes = new Uint8Array(await inflate(packed, { maxOutputLength: Math.max(1, entry.size) }));
    } catch (cause) {
      throw new HrsamError('ERR_WEIGHTS', `zip entry ${entry.name} does not unpack to ${entry.size} bytes`, {
        where: source.name,
        cause,
      });
    }
  }
  if (bytes.length !== entry.size)
    bad(source, `zip entry ${entry.name} unpacks to another size`, entry.size, bytes.length);
  const crc = crc32(bytes);
  if (crc !== entry.crc32) {
    const [expected, actual] = [entry.crc32, crc].map((sum) => sum.toString(16).padStart(8, '0'));
    bad(source, `zip entry ${entry.name} is damaged: its CRC-32 differs`, expected, actual);
  }
  return bytes;
};
