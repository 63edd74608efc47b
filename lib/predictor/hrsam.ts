import { HrsamError } from '../errors.js';
import { checkPath } from '../files.js';
import { decodeImage, type ImageSource } from '../image/decode.js';
import type { Pixels } from '../image/pixels.js';
import { longestSide, type Size } from '../image/resize.js';
import { PRECISIONS, type Precision } from '../model/layers.js';
import { checkCallback, optionsOf } from '../options.js';
import { checkSignal } from '../runtime/addon.js';
import { Device } from '../runtime/device.js';
import { Owned } from '../runtime/owned.js';
import type { Tensor } from '../runtime/tensor.js';
import { COLOUR_CHANNELS, type ModelConfig } from '../weights/config.js';
import { shippedWeights } from '../weights/shipped.js';
import { readEmbedding, writeEmbedding } from './embedding_file.js';
import { EncodedImage } from './image.js';
import { loadNetwork } from './load.js';
import type { Network, PictureSizes } from './network.js';
import { Zoom } from './zoom.js';

/** Where a model runs, and how. */
export interface LoadOptions {
  /** `cpu`, `cuda`, `cuda:N` or `auto` (CUDA if there is any, else the CPU). Default `auto`. */
  device?: string | Device;
  /**
   * What linears and attention compute in. Default `f32`. bf16 is about twice as fast on a processor with AVX-512's bf16
   * products, three times with AMX, and a little slower without either. fp8 is bf16 with e4m3 products in the encoder's
   * large linear layers, on Hopper GPUs alone, and less accurate.
   */
  dtype?: Precision;
  /**
   * The model's settings where the weights do not carry them, as an object in the authors' keywords, like
   * `{ backbone: { downsample_sizes: [256] } }`, or in ours. What those leave out is as in the published base model.
   */
  config?: unknown;
  /** CPU threads of the device, and so of every model on it, until they are set again. Default: as they are, at first all. */
  threads?: number;
  /** Called while weights are read: tensors done, tensors in all. */
  onProgress?: (done: number, total: number) => void;
}

/** How pictures are encoded. */
export interface EncodeOptions {
  /**
   * Longest side in pixels that the picture is resized to, a multiple of the patch (16). Default: the model's. SAM takes
   * no other.
   */
  size?: number;
  /**
   * Whether a picture that becomes larger than the model's own size is encoded at that as well: each answer is made there
   * first and then, with it as the prompt's mask, at full size. Not with `multimask`. Default: what the model was made for.
   */
  coarseToFine?: boolean;
  /**
   * Whether an answer of less than about half of the picture's longest side is made again on the part of the picture around
   * it, which is encoded by itself: more accurate for what is small, and slower, since a click then waits for an encoding
   * whenever its part is another than the last one's. The picture's pixels are kept. Not with `multimask`, `everything` or
   * saved embeddings. Default `false`.
   */
  zoom?: boolean;
  /** @internal What the picture's sides are brought to multiples of, with zeros, before it is resized. Default: not. */
  divisor?: number;
  /** Ends the work with ERR_ABORTED while it is queued or between two layers. */
  signal?: AbortSignal;
}

const checkLoadOptions = optionsOf<LoadOptions>({
  device: true,
  dtype: true,
  config: true,
  threads: true,
  onProgress: true,
});

const checkEncodeOptions = optionsOf<EncodeOptions>({
  size: true,
  coarseToFine: true,
  zoom: true,
  divisor: 'internal',
  signal: true,
});

/** Pictures are padded to whole patches; a larger side than this is taken for a mistake. */
const MAX_SIZE = 32768;

/**
 * A model ready for pictures: HRSAM, HRSAM++ or SAM.
 *
 *     const model = await HRSAM.load();
 *     using image = await model.encode('photo.jpg', { size: 2048 });
 *     const [mask] = await image.segment({ points: [[640, 480]] });
 */
export class HRSAM {
  private constructor(
    /** @internal Tensors in, tensors out. */
    readonly network: Network,
  ) {}

  /**
   * Loads weights: a .safetensors file or a PyTorch checkpoint (.pth, .pt; read without executing anything); without a
   * name, the small model inside the package. A name like `random:hrsam-b` gives a preset with random values instead:
   * untrained, for benches and tests.
   * @throws HrsamError ERR_FILE, ERR_WEIGHTS, ERR_CONFIG, ERR_DEVICE, ERR_OUT_OF_MEMORY
   */
  static async load(weights: string = shippedWeights(), options: LoadOptions = {}): Promise<HRSAM> {
    checkLoadOptions(options, 'load');
    const { device: wanted = 'auto', dtype = 'f32', threads, onProgress } = options;
    checkCallback(onProgress, 'onProgress');
    if (!PRECISIONS.includes(dtype)) {
      throw new HrsamError('ERR_ARGUMENT', 'dtype', { expected: PRECISIONS.join(', '), actual: dtype });
    }
    if (typeof weights !== 'string') {
      throw new HrsamError('ERR_ARGUMENT', 'weights', {
        expected: 'a path or random:<preset>',
        actual: weights,
      });
    }
    const device = wanted instanceof Device ? wanted : Device.open(wanted);
    if (threads !== undefined) await device.setThreads(threads);
    return new HRSAM(await loadNetwork(weights, device, dtype, options));
  }

  /** The model's settings: those of the weights file, or what its tensors tell. */
  get config(): ModelConfig {
    return this.network.config;
  }

  /** Where it runs. */
  get device(): Device {
    return this.network.device;
  }

  /**
   * Encodes a picture: a path, the bytes of a file, or raw pixels. Prompt the result as often as you like. Bytes and
   * pixels are read until it is there, more than once: leave them as they are.
   * @throws HrsamError ERR_FILE, ERR_IMAGE, ERR_ARGUMENT, ERR_OUT_OF_MEMORY, ERR_ABORTED
   */
  async encode(picture: ImageSource, options: EncodeOptions = {}): Promise<EncodedImage> {
    return (await this.encodeBatch([picture], options))[0]!;
  }

  /** Encodes pictures together, in one run of the encoder; all are brought to the same size. @throws as `encode` */
  async encodeBatch(pictures: readonly ImageSource[], options: EncodeOptions = {}): Promise<EncodedImage[]> {
    checkEncodeOptions(options, 'encode');
    const { divisor, zoom = false, signal } = options;
    this.#checkOpen();
    if (typeof zoom !== 'boolean')
      throw new HrsamError('ERR_ARGUMENT', 'zoom', { expected: 'true or false', actual: zoom });
    if (!Array.isArray(pictures) || pictures.length === 0)
      throw new HrsamError('ERR_ARGUMENT', 'pictures', { expected: 'a list of at least one' });
    const size = this.checkSize(options.size);
    const coarse = this.coarseSize(size, options.coarseToFine);
    // A client that left while it waited costs no decoding.
    checkSignal(signal);
    const decoded = await Promise.all(
      Array.from(pictures, async (picture) => {
        const pixels = await decodeImage(picture);
        // A caller's own may change once they are encoded.
        const own = typeof picture === 'object' && 'data' in picture;
        return zoom && own ? { ...pixels, data: pixels.data.slice() } : pixels;
      }),
    );
    await this.network.checkRoom(decoded.length, [1, COLOUR_CHANNELS, size, size]);
    if (coarse === undefined) return this.#encodeAt(size, decoded, { divisor, zoom, signal });
    using owned = new Owned();
    const smaller = await this.#encodeAt(coarse, decoded, { divisor, signal });
    for (const image of smaller) owned.add(image);
    const images = await this.#encodeAt(size, decoded, { divisor, zoom, signal }, smaller);
    owned.move();
    return images;
  }

  async #encodeAt(
    size: number,
    pictures: readonly Pixels[],
    { divisor, zoom, signal }: EncodeOptions,
    coarse: readonly EncodedImage[] = [],
  ): Promise<EncodedImage[]> {
    using owned = new Owned();
    const images: Tensor[] = [];
    const sizes = pictures.map((pixels) => this.#sizes(pixels, size, divisor));
    for (const [i, pixels] of pictures.entries())
      images.push(owned.add(await this.#input(pixels, sizes[i]!, signal)));
    const embeddings = await this.network.encode(images, signal);
    return embeddings.map((embedding, i) => {
      const part = zoom ? this.#zoom(pictures[i]!, embedding.bytes / size ** 2, divisor) : undefined;
      return new EncodedImage(this.network, embedding, sizes[i]!, coarse[i], part);
    });
  }

  #zoom(picture: Pixels, bytesPerPixel: number, divisor?: number): Zoom {
    const { family, encoder, image } = this.config;
    const half = image.size / 2;
    const sizes = family !== 'sam' && half % encoder.patchSize === 0 ? [half, image.size] : [image.size];
    return new Zoom(picture, sizes, bytesPerPixel * image.size ** 2, async (part, size, signal) => {
      this.#checkOpen();
      const [encoded] = await this.#encodeAt(size, [part], { divisor, signal });
      return encoded!;
    });
  }

  /** @internal The size at which answers are made first; undefined where they are made at `size` alone. @throws HrsamError ERR_ARGUMENT */
  coarseSize(size: number, wanted: boolean = this.config.decoder.coarseToFine ?? false): number | undefined {
    if (typeof wanted !== 'boolean')
      throw new HrsamError('ERR_ARGUMENT', 'coarseToFine', { expected: 'true or false', actual: wanted });
    return wanted && size > this.config.image.size ? this.config.image.size : undefined;
  }

  /** Keeps an encoded picture in a .safetensors file. @throws HrsamError ERR_ARGUMENT, ERR_FILE, ERR_DISPOSED */
  async saveEmbedding(image: EncodedImage, path: string): Promise<void> {
    if (!(image instanceof EncodedImage))
      throw new HrsamError('ERR_ARGUMENT', 'image', {
        where: 'saveEmbedding',
        expected: 'an encoded picture',
        actual: image,
      });
    checkPath(path, 'saveEmbedding');
    await image.use(() => this.#save(image, path));
  }

  async #save(image: EncodedImage, path: string): Promise<void> {
    const { original, resized, input, coarse } = image;
    const made = await this.network.fingerprint();
    if ((await image.network.fingerprint()) !== made)
      throw new HrsamError('ERR_ARGUMENT', 'an image of another model', {
        where: 'saveEmbedding',
        expected: 'one that this model, or one of the same weights, made',
      });
    await writeEmbedding(path, image.embedding, { original, resized, input }, coarse?.embedding, made);
  }

  /** Brings back an encoded picture that this model saved. @throws HrsamError ERR_WEIGHTS, ERR_FILE, ERR_SHAPE */
  async loadEmbedding(path: string): Promise<EncodedImage> {
    this.#checkOpen();
    checkPath(path, 'loadEmbedding');
    const { embedding, sizes, coarse, model } = await readEmbedding(path, this.device);
    using owned = new Owned();
    for (const tensor of [embedding, coarse]) if (tensor) owned.add(tensor);
    await this.network.checkFingerprint(model, path);
    const smaller = sizes && this.#sizes(sizes.original, this.config.image.size);
    const first = coarse && this.#restored(path, coarse, smaller);
    const image = this.#restored(path, embedding, sizes, first);
    owned.move();
    return image;
  }

  #restored(
    path: string,
    embedding: Tensor,
    sizes: PictureSizes | undefined,
    coarse?: EncodedImage,
  ): EncodedImage {
    const { prompt, encoder } = this.config;
    const shape = sizes && [
      1,
      sizes.input.height / encoder.patchSize,
      sizes.input.width / encoder.patchSize,
      prompt.embedDim,
    ];
    if (!sizes || `${shape}` !== `${embedding.shape}`) {
      throw new HrsamError('ERR_SHAPE', 'not a saved picture of this model', {
        where: path,
        expected: `one embedding of ${prompt.embedDim} channels and the sizes of its picture`,
        actual: sizes
          ? `(b, h, w, c) = [${embedding.shape}] for an input of ${sizes.input.height} × ${sizes.input.width}`
          : 'no sizes',
      });
    }
    return new EncodedImage(this.network, embedding, sizes, coarse);
  }

  /**
   * Frees weights and programs once no work uses them. What has begun and needs more steps ends with ERR_DISPOSED, and
   * encoded pictures cannot be prompted any more.
   */
  dispose(): void {
    this.network.dispose();
  }

  [Symbol.dispose](): void {
    this.dispose();
  }

  #checkOpen(): void {
    if (this.network.disposed) throw new HrsamError('ERR_DISPOSED', 'the model was disposed');
  }

  /** @internal A size that `encode` takes. @throws HrsamError ERR_ARGUMENT */
  checkSize(size = this.config.image.size, most = MAX_SIZE): number {
    const { family, encoder, image } = this.config;
    const patch = encoder.patchSize;
    if (!Number.isInteger(size) || size < patch || size > most || size % patch !== 0) {
      throw new HrsamError('ERR_ARGUMENT', 'size', {
        expected: `a multiple of ${patch} from ${patch} to ${most}`,
        actual: size,
      });
    }
    if (family === 'sam' && size !== image.size) {
      throw new HrsamError('ERR_ARGUMENT', 'Segment Anything knows positions of one size only', {
        where: 'size',
        expected: image.size,
        actual: size,
      });
    }
    return size;
  }

  #sizes({ height, width }: Size, size: number, divisor?: number): PictureSizes {
    const whole = (side: number) => (divisor ? Math.ceil(side / divisor) * divisor : side);
    const padded = { height: whole(height), width: whole(width) };
    return {
      original: { height, width },
      ...(divisor && { padded }),
      resized: longestSide(padded.height, padded.width, size),
      input: { height: size, width: size },
    };
  }

  async #input(pixels: Pixels, sizes: PictureSizes, signal?: AbortSignal): Promise<Tensor> {
    const { height, width, channels, data } = pixels;
    using raw = this.device.tensor([height, width, channels], 'u8', data);
    return await this.network.preprocess(raw, sizes, signal);
  }
}
