import { basename, resolve } from 'node:path';
import { IndexFile } from '../../data/index_file.js';
import { type LabelImage, readLabels } from '../../data/read_labels.js';
import { HrsamError } from '../../errors.js';
import { decodeImage } from '../../image/decode.js';
import { brightest, inside, white } from '../../image/mask_picture.js';
import type { Pixels } from '../../image/pixels.js';
import type { Rng } from '../../rng.js';
import { type LabelledObject, measure, type SampleSource, someOf } from './source.js';

export interface FolderSourceOptions {
  /** Longest side that pictures keep; larger ones are shrunk while they are decoded. Default 1024. */
  maxSide?: number;
  /** Decoded pictures and masks kept for the next time, in bytes. Default 2²⁶. */
  cacheBytes?: number;
  /** Called once for each entry that cannot be used. */
  onCorrupt?: (error: HrsamError) => void;
}

/** Of pictures, where nothing else is asked for. */
export const MAX_SIDE = 1024;

/** The objects of a set's folder: `index.json` lists {image, mask}, paths relative to the folder. */
export class FolderSource implements SampleSource {
  readonly unusable = 'entries that cannot be used';

  readonly #corrupt = new Set<number>();
  // In order of last use.
  readonly #cache = new Map<string, Pixels>();
  #cached = 0;
  readonly #measured = new Map<number, NonNullable<ReturnType<typeof measure>>>();
  #byImage: Map<unknown, number[]> | undefined;

  private constructor(
    readonly list: IndexFile,
    readonly options: FolderSourceOptions,
  ) {}

  /** @throws HrsamError ERR_FILE when there is no list of entries. */
  static async open(root: string, options: FolderSourceOptions = {}): Promise<FolderSource> {
    return new FolderSource(await IndexFile.open(root), options);
  }

  get name(): string {
    return basename(resolve(this.list.folder));
  }

  /** Objects that the list names. */
  get size(): number {
    return this.list.entries.length;
  }

  /** @throws HrsamError ERR_FILE once every entry has turned out unusable */
  async draw(draws: Rng, others = 0): Promise<LabelledObject | undefined> {
    if (this.#corrupt.size === this.size)
      throw new HrsamError('ERR_FILE', 'none of its entries can be used', { where: this.list.path });
    const i = draws.below(this.size);
    const wanted = others > 0 ? someOf(draws, this.#companions(i), others) : [];
    const object = await this.#attempt(i);
    if (!object || wanted.length === 0) return object;
    const found = await Promise.all(wanted.map((other) => this.#attempt(other)));
    return { ...object, others: found.flatMap((other) => (other ? [other.mask] : [])) };
  }

  /** Entry `i`, unless it turns out unusable. */
  async #attempt(i: number): Promise<LabelledObject | undefined> {
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

  /** Other entries of the same picture. */
  #companions(i: number): number[] {
    const image = (entry: unknown) => (entry as { image?: unknown } | null)?.image;
    if (!this.#byImage) {
      this.#byImage = new Map();
      for (const [k, entry] of this.list.entries.entries())
        this.#byImage.set(image(entry), [...(this.#byImage.get(image(entry)) ?? []), k]);
    }
    return this.#byImage.get(image(this.list.entries[i]))!.filter((other) => other !== i);
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
    const measured = this.#measured.get(i) ?? measure(grey.data, grey.width);
    if (!measured) throw await this.#emptyMask(this.list.file(i, mask), where);
    this.#measured.set(i, measured);
    return { pixels, mask: grey.data, ...measured, others: [] };
  }

  /** What to say of a mask that nothing is inside of. */
  async #emptyMask(path: string, where: string): Promise<HrsamError> {
    const labels = await readLabels(path, this.options.maxSide ?? MAX_SIDE);
    const value = brightest(labels);
    let most = 0;
    for (let i = 0; i < labels.width * labels.height; i++) most = Math.max(most, value(i));
    if (most === 0) return new HrsamError('ERR_IMAGE', 'the mask is empty', { where });
    return new HrsamError('ERR_IMAGE', 'nothing in the mask is brighter than half of white', {
      where,
      expected: `more than ${white(labels) / 2}`,
      actual: `${most}, the brightest`,
    });
  }

  /** RGB, or 0/1 for a mask. */
  async #picture(path: string, isMask: boolean): Promise<Pixels> {
    const key = `${isMask ? 'mask' : 'picture'} ${path}`;
    const known = this.#cache.get(key);
    if (known) {
      this.#cache.delete(key);
      this.#cache.set(key, known);
      return known;
    }
    const { maxSide = MAX_SIDE } = this.options;
    const picture = isMask
      ? thresholded(await readLabels(path, maxSide))
      : await decodeImage(path, { maxSide });
    this.#keep(key, picture);
    return picture;
  }

  #keep(key: string, picture: Pixels): void {
    if (this.#cache.has(key)) return;
    this.#cache.set(key, picture);
    this.#cached += picture.data.length;
    for (const [oldest, { data }] of this.#cache) {
      if (this.#cached <= (this.options.cacheBytes ?? 2 ** 26)) break;
      this.#cache.delete(oldest);
      this.#cached -= data.length;
    }
  }
}

function thresholded(picture: LabelImage): Pixels {
  const { width, height } = picture;
  const [value, test] = [brightest(picture), inside(picture)];
  const mask = new Uint8Array(width * height);
  for (let i = 0; i < mask.length; i++) if (test(value(i))) mask[i] = 1;
  return { data: mask, width, height, channels: 1 };
}
