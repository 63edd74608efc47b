import type { Pixels } from '../image/pixels.js';
import type { Size } from '../image/resize.js';
import { placeRle } from '../image/rle.js';
import { LABEL } from '../model/prompt_encoder.js';
import type { EncodedImage } from './image.js';
import { Mask } from './mask.js';
import { logitsPerPixel, type PictureSizes } from './network.js';
import type { MaskLogits, Prompt } from './prompts.js';

/** A rectangle of a picture, in its pixels. */
export interface Part extends Size {
  readonly x: number;
  readonly y: number;
}

/** Sides of a part to those of what it is made around. */
const MARGIN = 1.3;
/** Pixels of a part's side, at least. */
const LEAST_SIDE = 64;
/** A part that the model would see less than so much larger than it saw the picture says nothing new. */
const LEAST_GAIN = 1.25;

/** Encodes a part by itself, brought to a size. */
type EncodePart = (part: Pixels, size: number, signal?: AbortSignal) => Promise<EncodedImage>;

/**
 * Answers made again on the part of the picture around them, which the model then sees larger: zoom-in, as interactive
 * segmentation is evaluated since f-BRS (arXiv 2001.10331). Keeps the picture and the part asked last.
 */
export class Zoom {
  #last?: { key: string; image: EncodedImage };

  constructor(
    readonly picture: Pixels,
    /** What parts are brought to: the model's own size, and smaller ones for parts that lose nothing by it. */
    readonly sizes: readonly number[],
    /** Of a part's embedding, at most. */
    readonly partBytes: number,
    readonly encode: EncodePart,
  ) {}

  /** Of the picture, and of the part it may come to hold. */
  get bytes(): number {
    return this.picture.data.length + this.partBytes;
  }

  /**
   * @param first the answer of the whole picture
   * @returns the part's answer in its place, or itself where it fills the picture
   */
  async answer(
    prompt: Prompt,
    first: Mask,
    whole: PictureSizes,
    options: { minRegion: number; signal?: AbortSignal },
  ): Promise<Mask> {
    if (first.area === 0) return first;
    const part = partAround(prompt, first, this.picture);
    const size = this.#sizeOf(part, whole);
    if (size === undefined) return first;
    return this.#within(part, size, options.signal, async (image) => {
      const asked = within(part, prompt, first.logits, whole, image);
      const [[mask]] = (await image.masksOf([asked], { refinements: 0, ...options })) as [[Mask]];
      return mask.area === 0 ? first : placed(part, mask, first, image, whole);
    });
  }

  /** The smallest size at which the model sees the part as large as it saw the picture, and no pixel is lost. */
  #sizeOf({ height, width }: Part, { padded, original, resized }: PictureSizes): number | undefined {
    const longest = ({ height, width }: Size) => Math.max(height, width);
    const side = Math.max(height, width);
    const scale = longest(resized) / longest(padded ?? original);
    const own = Math.max(...this.sizes);
    if (own / side < LEAST_GAIN * scale) return undefined;
    const enough = this.sizes.filter((size) => size / side >= Math.max(1, scale));
    return Math.min(own, ...enough);
  }

  async #within<T>(
    part: Part,
    size: number,
    signal: AbortSignal | undefined,
    work: (image: EncodedImage) => Promise<T>,
  ): Promise<T> {
    const key = `${part.x},${part.y},${part.width},${part.height}`;
    if (this.#last?.key !== key) {
      const image = await this.encode(cut(this.picture, part), size, signal);
      this.#last?.image.dispose();
      this.#last = { key, image };
    }
    const { image } = this.#last;
    return image.use(() => work(image));
  }

  dispose(): void {
    this.#last?.image.dispose();
  }
}

/**
 * What holds a mask, its prompt's box and its clicks on the object, with a margin. Sides and places go in steps, so that
 * the answers of one object's clicks mostly have the same part.
 */
export function partAround(
  { points = [], labels, box }: Prompt,
  { bbox }: Pick<Mask, 'bbox'>,
  { height, width }: Size,
): Part {
  const clicks = points.filter((_, i) => (labels?.[i] ?? LABEL.foreground) === LABEL.foreground);
  const [left, top, right, bottom] = box ?? bbox;
  const xs = [bbox[0], bbox[2] + 1, left, right, ...clicks.map(([x]) => x)];
  const ys = [bbox[1], bbox[3] + 1, top, bottom, ...clicks.map(([, y]) => y)];
  const [x0, x1, y0, y1] = [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  // Something long and thin has surroundings, too.
  const least = Math.max(x1 - x0, y1 - y0) / 2;
  const [x, columns] = along(x0, x1, least, width);
  const [y, rows] = along(y0, y1, least, height);
  return { x, y, width: columns, height: rows };
}

/** Where a part begins along an axis and how long it is there. */
function along(from: number, to: number, least: number, most: number): [begin: number, length: number] {
  const wanted = Math.max(LEAST_SIDE, MARGIN * Math.max(to - from, least));
  const length = 2 ** (Math.ceil(2 * Math.log2(wanted)) / 2);
  const step = length / 8;
  const at = Math.round(((from + to) / 2 - length / 2) / step) * step;
  const begin = Math.max(0, Math.floor(at));
  return [begin, Math.min(most, Math.ceil(at + length)) - begin];
}

function cut({ data, width, channels }: Pixels, part: Part): Pixels {
  const cut = new Uint8Array(part.height * part.width * channels);
  for (let row = 0; row < part.height; row++) {
    const at = ((part.y + row) * width + part.x) * channels;
    cut.set(data.subarray(at, at + part.width * channels), row * part.width * channels);
  }
  return { data: cut, height: part.height, width: part.width, channels };
}

/** The prompt about the part: what lies in it, and the first answer as its mask. */
function within(
  part: Part,
  { points = [], labels, box }: Prompt,
  logits: MaskLogits,
  whole: PictureSizes,
  image: EncodedImage,
): Prompt {
  const inside = points.map(
    ([x, y]) => x >= part.x && y >= part.y && x <= part.x + part.width && y <= part.y + part.height,
  );
  const side = (along: 'height' | 'width') => (logits[along] / whole.input[along]) * image.input[along];
  const [height, width] = [side('height'), side('width')];
  const from = logitsPerPixel(whole, logits);
  const to = logitsPerPixel(image, { height, width });
  return {
    points: points.filter((_, i) => inside[i]).map(([x, y]) => [x - part.x, y - part.y] as const),
    labels: labels?.filter((_, i) => inside[i]),
    box: box && [box[0] - part.x, box[1] - part.y, box[2] - part.x, box[3] - part.y],
    mask: {
      data: sampled(
        logits,
        Array.from({ length: height }, (_, i) => ((i + 0.5) / to.y + part.y) * from.y - 0.5),
        Array.from({ length: width }, (_, i) => ((i + 0.5) / to.x + part.x) * from.x - 0.5),
      ),
      height,
      width,
    },
  };
}

/** The part's answer as one of the picture. Around the part its logits are the first answer's, which is no mask there. */
function placed(part: Part, mask: Mask, first: Mask, image: EncodedImage, whole: PictureSizes): Mask {
  const { height, width } = first.logits;
  const to = logitsPerPixel(whole, first.logits);
  const from = logitsPerPixel(image, mask.logits);
  /** Cells of the picture's logits whose centers lie in the part. */
  const cells = (begin: number, length: number, scale: number, most: number): [number, number] => [
    Math.max(0, Math.ceil(begin * scale - 0.5)),
    Math.min(most, Math.ceil((begin + length) * scale - 0.5)),
  ];
  const [x0, x1] = cells(part.x, part.width, to.x, width);
  const [y0, y1] = cells(part.y, part.height, to.y, height);
  const columns = Array.from({ length: x1 - x0 }, (_, i) => ((x0 + i + 0.5) / to.x - part.x) * from.x - 0.5);
  const rows = Array.from({ length: y1 - y0 }, (_, i) => ((y0 + i + 0.5) / to.y - part.y) * from.y - 0.5);
  const inside = sampled(mask.logits, rows, columns);
  const data = first.logits.data.slice();
  for (const row of rows.keys())
    data.set(inside.subarray(row * columns.length, (row + 1) * columns.length), (y0 + row) * width + x0);
  const [left, top, right, bottom] = mask.bbox;
  return new Mask(
    mask.index,
    mask.score,
    mask.area,
    [left + part.x, top + part.y, right + part.x, bottom + part.y],
    placeRle(mask.rle, first.rle.size, part.x, part.y),
    { data, height, width },
  );
}

/** Logits between their cells, bilinearly, at so many rows by so many columns; outside those of the border. */
function sampled(
  { data, height, width }: MaskLogits,
  rows: readonly number[],
  columns: readonly number[],
): Float32Array {
  const near = (place: number, count: number) => {
    const at = Math.min(count - 1, Math.max(0, place));
    const before = Math.min(count - 2, Math.floor(at));
    return { before, share: at - before };
  };
  const found = new Float32Array(rows.length * columns.length);
  const across = columns.map((place) => near(place, width));
  let i = 0;
  for (const place of rows) {
    const down = near(place, height);
    const above = down.before * width;
    for (const { before, share } of across) {
      const k = above + before;
      const upper = data[k]! + (data[k + 1]! - data[k]!) * share;
      const lower = data[k + width]! + (data[k + width + 1]! - data[k + width]!) * share;
      found[i++] = upper + (lower - upper) * down.share;
    }
  }
  return found;
}
