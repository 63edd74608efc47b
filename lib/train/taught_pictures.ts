import { exists } from '../data/files.js';
import { type ListedPicture, listPictures } from '../data/pictures.js';
import { HrsamError } from '../errors.js';
import { evaluate } from '../graph/evaluate.js';
import { preprocess } from '../graph/ops/preprocess.js';
import { decodeImage } from '../image/decode.js';
import { longestSide } from '../image/resize.js';
import type { EmbeddingStore } from '../predictor/embedding_store.js';
import { preprocessOptions } from '../predictor/network.js';
import { Rng } from '../rng.js';
import type { Device } from '../runtime/device.js';
import type { ImageConfig } from '../weights/config.js';

/** A picture as the student sees it and as the teacher saw it. */
export interface TaughtPicture {
  /** (3, S, S), normalised. */
  image: Float32Array;
  /** (h, w, E) */
  target: Float32Array;
}

export interface TaughtOptions {
  /** S: the longest side becomes this long. */
  size: number;
  seed: number;
  /** What the student wants of its pictures. */
  image: ImageConfig;
  /** Called once for each picture that cannot be used. */
  onCorrupt?: (error: HrsamError) => void;
  /** Something the user should know. */
  onNote?: (note: string) => void;
}

type Entry = ListedPicture & { store: EmbeddingStore };

/** So many pictures in a row that cannot be used are no accident. */
const MAX_ATTEMPTS = 200;

/**
 * Pictures that a teacher has embedded, each once in as many samples as there are pictures. Sample k depends on the seed,
 * on k and on what the folders hold, and on nothing else.
 */
export class TaughtPictures {
  readonly #corrupt = new Set<number>();
  #order: { epoch: number; pictures: number[] } = { epoch: -1, pictures: [] };

  private constructor(
    readonly device: Device,
    readonly pictures: readonly Entry[],
    /** Of them, how many are of each root. */
    readonly counts: readonly number[],
    readonly options: TaughtOptions,
  ) {}

  /**
   * @param roots folders of pictures, and for each the store that `hrsam embed` filled from it
   * @throws HrsamError ERR_FILE when no picture has an embedding
   */
  static async open(
    device: Device,
    roots: readonly (readonly [string, EmbeddingStore])[],
    options: TaughtOptions,
  ): Promise<TaughtPictures> {
    const pictures: Entry[] = [];
    const counts: number[] = [];
    for (const [root, store] of roots) {
      const listed = await listPictures(root, options.onCorrupt);
      const taught: Entry[] = [];
      let missing = 0;
      for (const picture of listed) {
        if (await store.has(picture.name)) taught.push({ ...picture, store });
        else if (!(await exists(store.file(picture.name)))) missing++;
        else options.onCorrupt?.(notWhole(store, picture));
      }
      if (taught.length === 0)
        throw new HrsamError('ERR_FILE', `no embedding of a picture in ${root}`, {
          where: store.folder,
          expected: `what hrsam embed ${root} -o ${store.folder} writes`,
        });
      if (missing > 0)
        options.onNote?.(
          `${missing} of ${listed.length} pictures of ${root} have no embedding in ${store.folder}: hrsam embed goes on`,
        );
      pictures.push(...taught);
      counts.push(taught.length);
    }
    return new TaughtPictures(device, pictures, counts, options);
  }

  /** @throws HrsamError ERR_FILE when none of many pictures can be used */
  async sample(index: number): Promise<TaughtPicture> {
    const count = this.pictures.length;
    const draws = new Rng(this.options.seed, index);
    let chosen = this.#shuffled(Math.floor(index / count))[index % count]!;
    for (let attempt = 0; attempt < MAX_ATTEMPTS; attempt++) {
      const picture = await this.#read(chosen);
      if (picture) return picture;
      chosen = draws.below(count);
    }
    throw new HrsamError('ERR_FILE', `none of ${MAX_ATTEMPTS} pictures could be used`, {
      where: `sample ${index}`,
    });
  }

  #shuffled(epoch: number): number[] {
    if (this.#order.epoch !== epoch) {
      const draws = new Rng(this.options.seed, epoch, 1);
      const pictures = [...this.pictures.keys()];
      for (let last = pictures.length - 1; last > 0; last--) {
        const other = draws.below(last + 1);
        [pictures[last], pictures[other]] = [pictures[other]!, pictures[last]!];
      }
      this.#order = { epoch, pictures };
    }
    return this.#order.pictures;
  }

  /** Nothing for one that cannot be used. */
  async #read(i: number): Promise<TaughtPicture | undefined> {
    if (this.#corrupt.has(i)) return undefined;
    try {
      return await this.#load(this.pictures[i]!);
    } catch (error) {
      if (!(error instanceof HrsamError) || !CORRUPT.includes(error.code)) throw error;
      if (!this.#corrupt.has(i)) this.options.onCorrupt?.(error);
      this.#corrupt.add(i);
      return undefined;
    }
  }

  async #load({ name, path, store }: Entry): Promise<TaughtPicture> {
    const { size, image } = this.options;
    const { data, height, width, channels } = await decodeImage(path);
    const { embedding, sizes } = await store.read(name, this.device);
    using taught = embedding;
    if (sizes?.original.height !== height || sizes.original.width !== width) {
      throw new HrsamError('ERR_IMAGE', 'not the picture that was embedded', {
        where: path,
        expected: sizes ? `${sizes.original.width} x ${sizes.original.height}` : 'an embedding of a picture',
        actual: `${width} x ${height}`,
      });
    }
    const options = preprocessOptions(image, {
      resized: longestSide(height, width, size),
      input: { height: size, width: size },
    });
    using pixels = this.device.tensor([height, width, channels], 'u8', data);
    const seen = await evaluate({ pixels }, (graph, values) => ({
      image: preprocess(graph, values.pixels!, options),
    }));
    using input = seen.image!;
    return {
      image: ((await input.data()) as Float32Array).slice(),
      target: ((await taught.data()) as Float32Array).slice(),
    };
  }
}

const CORRUPT = ['ERR_FILE', 'ERR_IMAGE', 'ERR_WEIGHTS', 'ERR_SHAPE'];

const notWhole = (store: EmbeddingStore, picture: ListedPicture): HrsamError =>
  new HrsamError('ERR_WEIGHTS', 'is no whole embedding', {
    where: store.file(picture.name),
    expected: `[${store.shape}]: hrsam embed makes it anew`,
  });
