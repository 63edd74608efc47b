import { IndexFile } from '../../data/index_file.js';
import type { Draws } from '../../draws.js';
import { HrsamError } from '../../errors.js';
import { decodeImage } from '../../image/decode.js';
import type { Pixels } from '../../image/pixels.js';
import { type LabelledObject, measure, type SampleSource } from './source.js';

export interface FolderSourceOptions {
  /** Longest side that pictures keep; larger ones are shrunk while they are decoded. Default 1024. */
  maxSide?: number;
  /** Decoded pictures and masks kept for the next time, in bytes. Default 2²⁶. */
  cacheBytes?: number;
  /** Called once for each entry that cannot be used. */
  onCorrupt?: (error: HrsamError) => void;
}

/** The objects of a set's folder: `index.json` lists {image, mask}, paths relative to the folder. */
export class FolderSource implements SampleSource {
  /** Entries that turned out unusable so far. */
  get corrupt(): number {
    return this.#corrupt.size;
  }

  readonly #corrupt = new Set<number>();
  // In order of last use.
  readonly #cache = new Map<string, Pixels>();
  #cached = 0;

  private constructor(
    readonly list: IndexFile,
    readonly options: FolderSourceOptions,
  ) {}

  /** @throws HrsamError ERR_FILE when there is no list of entries. */
  static async open(root: string, options: FolderSourceOptions = {}): Promise<FolderSource> {
    return new FolderSource(await IndexFile.open(root), options);
  }

  /** Objects that the list names. */
  get size(): number {
    return this.list.entries.length;
  }

  async draw(draws: Draws): Promise<LabelledObject | undefined> {
    const i = draws.below(this.size);
    if (this.#corrupt.has(i)) return undefined;
    try {
      return await this.read(i);
    } catch (error) {
      if (!(error instanceof HrsamError)) throw error;
      if (!this.#corrupt.has(i)) {
        this.#corrupt.add(i);
        this.options.onCorrupt?.(error);
      }
      return undefined;
    }
  }

  /**
   * Entry `i` of the list.
   * @throws HrsamError ERR_FILE or ERR_IMAGE when it cannot be used.
   */
  async read(i: number): Promise<LabelledObject> {
    const where = this.list.where(i);
    const { image, mask } = this.list.entry(i);
    const [pixels, grey] = await Promise.all([
      this.#picture(this.list.file(i, image), false),
      this.#picture(this.list.file(i, mask), true),
    ]);
    if (grey.width !== pixels.width || grey.height !== pixels.height) {
      throw new HrsamError('ERR_IMAGE', "the mask's size is not the picture's", {
        where,
        expected: `${pixels.width} x ${pixels.height}`,
        actual: `${grey.width} x ${grey.height}`,
      });
    }
    const measured = measure(grey.data, grey.width);
    if (!measured) throw new HrsamError('ERR_IMAGE', 'the mask is empty', { where });
    return { pixels, mask: grey.data, ...measured };
  }

  /** RGB, or 0/1 for a mask. */
  async #picture(path: string, isMask: boolean): Promise<Pixels> {
    const known = this.#cache.get(path);
    if (known) {
      this.#cache.delete(path);
      this.#cache.set(path, known);
      return known;
    }
    const decoded = await decodeImage(path, { maxSide: this.options.maxSide ?? 1024 });
    const picture = isMask ? thresholded(decoded) : decoded;
    this.#keep(path, picture);
    return picture;
  }

  #keep(path: string, picture: Pixels): void {
    if (this.#cache.has(path)) return;
    this.#cache.set(path, picture);
    this.#cached += picture.data.length;
    for (const [oldest, { data }] of this.#cache) {
      if (this.#cached <= (this.options.cacheBytes ?? 2 ** 26)) break;
      this.#cache.delete(oldest);
      this.#cached -= data.length;
    }
  }
}

function thresholded({ data, width, height }: Pixels): Pixels {
  const mask = new Uint8Array(width * height);
  for (let i = 0; i < mask.length; i++) mask[i] = data[3 * i]! >> 7;
  return { data: mask, width, height, channels: 1 };
}
