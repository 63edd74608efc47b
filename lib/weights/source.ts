import type { FileHandle } from 'node:fs/promises';
import { HrsamError } from '../errors.js';
import { openRegular } from '../files.js';
import { isWhole } from '../whole.js';

/** Random access to the bytes of a weights file, on disk or in memory. Nothing is read before it is asked for. */
export interface ByteSource {
  /** What errors call it: the path, or `(in memory)`. */
  readonly name: string;
  /** Path of the file, when there is one to map. */
  readonly path?: string;
  readonly size: number;
  /**
   * `length` bytes from `offset` on, in memory of their own.
   * @throws HrsamError ERR_WEIGHTS when the range leaves the file, ERR_FILE when it cannot be read
   */
  read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>>;
  close(): Promise<void>;
}

/** One read call takes a 32-bit length; larger tensors are read in pieces. */
const PIECE = 1 << 30;

const checkRange = (source: ByteSource, offset: number, length: number): void => {
  if (isWhole(offset, 0) && isWhole(length, 0) && offset + length <= source.size) return;
  throw new HrsamError('ERR_WEIGHTS', 'the file is truncated', {
    where: source.name,
    expected: `bytes ${offset} to ${offset + length}`,
    actual: `${source.size} bytes`,
  });
};

/** Allocates what a file asks for; the caller has compared `length` with the file's own size. */
export const allocate = (length: number, where: string): Uint8Array<ArrayBuffer> => {
  try {
    return new Uint8Array(length);
  } catch (cause) {
    throw new HrsamError('ERR_OUT_OF_MEMORY', `no memory for ${length} bytes`, { where, cause });
  }
};

class FileSource implements ByteSource {
  constructor(
    readonly path: string,
    readonly size: number,
    private readonly handle: FileHandle,
  ) {}

  get name(): string {
    return this.path;
  }

  async read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    checkRange(this, offset, length);
    const bytes = allocate(length, this.path);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await this.handle
        .read(bytes, done, Math.min(PIECE, length - done), offset + done)
        .catch((cause: unknown) => {
          throw new HrsamError('ERR_FILE', 'cannot be read', { where: this.path, cause });
        });
      if (bytesRead === 0)
        throw new HrsamError('ERR_FILE', 'became shorter while it was read', { where: this.path });
      done += bytesRead;
    }
    return bytes;
  }

  close(): Promise<void> {
    return this.handle.close();
  }
}

class MemorySource implements ByteSource {
  readonly name = '(in memory)';

  constructor(private readonly bytes: Uint8Array) {}

  get size(): number {
    return this.bytes.length;
  }

  async read(offset: number, length: number): Promise<Uint8Array<ArrayBuffer>> {
    checkRange(this, offset, length);
    return new Uint8Array(this.bytes.subarray(offset, offset + length));
  }

  async close(): Promise<void> {}
}

/**
 * Opens a file by its path, or wraps bytes. Close it after use.
 * @throws HrsamError ERR_FILE when the path cannot be opened or is no regular file
 */
export const openSource = async (input: string | Uint8Array): Promise<ByteSource> => {
  if (typeof input !== 'string') return new MemorySource(input);
  const { file, size } = await openRegular(input);
  return new FileSource(input, size, file);
};
