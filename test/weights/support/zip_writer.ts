import { crc32, deflateRawSync } from 'node:zlib';

export interface ZipInput {
  name: string;
  data: Uint8Array;
  deflate?: boolean;
  /** Fields to lie about. */
  crc?: number;
  size?: number;
  localName?: string;
  flags?: number;
  method?: number;
}

export interface ZipOptions {
  /** Write sizes and offsets as ZIP64 even though they are small. */
  zip64?: boolean;
  /** Start of each entry's data is a multiple of this, as torch does. */
  align?: number;
  /** Local header offset for an entry's name, to lie about. */
  offsets?: Record<string, number>;
  count?: number;
  comment?: string;
}

const little = (value: number | bigint, bytes: number): Buffer => {
  const out = Buffer.alloc(bytes);
  let rest = BigInt(value);
  for (let i = 0; i < bytes; i++, rest >>= 8n) out[i] = Number(rest & 0xffn);
  return out;
};

/** A zip archive, byte by byte, with any field made wrong on demand. */
export const writeZip = (inputs: readonly ZipInput[], options: ZipOptions = {}): Uint8Array => {
  const { zip64 = false, align = 64, offsets = {}, comment = '' } = options;
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let at = 0;
  const emit = (bytes: Buffer) => {
    parts.push(bytes);
    at += bytes.length;
  };
  for (const input of inputs) {
    const packed = input.deflate ? deflateRawSync(input.data) : Buffer.from(input.data);
    const method = little(input.method ?? (input.deflate ? 8 : 0), 2);
    const crc = little(input.crc ?? crc32(input.data), 4);
    const size = input.size ?? input.data.length;
    const name = Buffer.from(input.name);
    const localName = Buffer.from(input.localName ?? input.name);
    const header = offsets[input.name] ?? at;
    const room = at + 30 + localName.length;
    let padding = (align - (room % align)) % align;
    // an extra field needs 4 bytes for its own header
    while (padding > 0 && padding < 4) padding += align;
    const extra = padding
      ? Buffer.concat([little(0x4246, 2), little(padding - 4, 2), Buffer.alloc(padding - 4, 'Z')])
      : Buffer.alloc(0);
    const common = [little(input.flags ?? 0, 2), method, little(0, 4), crc];
    const sizes = [little(packed.length, 4), little(input.deflate ? input.data.length : packed.length, 4)];
    emit(
      Buffer.concat([
        little(0x04034b50, 4),
        little(45, 2),
        ...common,
        ...sizes,
        little(localName.length, 2),
        little(extra.length, 2),
        localName,
        extra,
      ]),
    );
    emit(packed);
    const ones = little(0xffffffff, 4);
    // Behind a field of another kind: the time, as zip programs write it.
    const extra64 = zip64
      ? Buffer.concat([
          little(0x5455, 2),
          little(5, 2),
          little(1, 5),
          little(1, 2),
          little(24, 2),
          little(size, 8),
          little(packed.length, 8),
          little(header, 8),
        ])
      : Buffer.alloc(0);
    directory.push(
      Buffer.concat([
        little(0x02014b50, 4),
        little(45, 2),
        little(45, 2),
        ...common,
        zip64 ? ones : little(packed.length, 4),
        zip64 ? ones : little(size, 4),
        little(name.length, 2),
        little(extra64.length, 2),
        little(0, 2 + 2 + 2 + 4),
        zip64 ? ones : little(header, 4),
        name,
        extra64,
      ]),
    );
  }
  const start = at;
  for (const entry of directory) emit(entry);
  const size = at - start;
  const count = options.count ?? inputs.length;
  if (zip64) {
    const record = at;
    emit(
      Buffer.concat([
        little(0x06064b50, 4),
        little(44, 8),
        little(45, 2),
        little(45, 2),
        little(0, 8),
        little(count, 8),
        little(count, 8),
        little(size, 8),
        little(start, 8),
      ]),
    );
    emit(Buffer.concat([little(0x07064b50, 4), little(0, 4), little(record, 8), little(1, 4)]));
  }
  const [shortCount, shortSize, shortStart] = zip64 ? [0xffff, 0xffffffff, 0xffffffff] : [count, size, start];
  emit(
    Buffer.concat([
      little(0x06054b50, 4),
      little(0, 4),
      little(shortCount, 2),
      little(shortCount, 2),
      little(shortSize, 4),
      little(shortStart, 4),
      little(comment.length, 2),
      Buffer.from(comment),
    ]),
  );
  return new Uint8Array(Buffer.concat(parts));
};
