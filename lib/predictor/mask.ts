import { maskToPng, type PngOptions } from '../image/png.js';
import { maskToPolygons, type Polygon, type PolygonOptions } from '../image/polygons.js';
import { type CompressedRle, compressRle, decodeRle, type Rle } from '../image/rle.js';
import type { MaskLogits } from './prompts.js';

/** One mask of a picture, at the picture's own size, as run lengths; and its logits: 256 KiB at 1024 pixels, 4 MiB at 4096. */
export class Mask {
  /** @internal Masks come from `segment()`. */
  constructor(
    /** Which of the decoder's masks it is: 0 is the single-mask answer, 1 … 3 the three alternatives. */
    readonly index: number,
    /** IoU with the object as the model predicts it: a plain linear output, about 0 … 1. */
    readonly score: number,
    /** Pixels. */
    readonly area: number,
    /** x0, y0, x1, y1: the smallest and largest column and row inside the mask; zeros for an empty one. */
    readonly bbox: readonly [number, number, number, number],
    /** COCO run lengths, column-major, zeros first. */
    readonly rle: Rle,
    /** What the decoder said, at a quarter of the model's input; feed it back as `mask` to refine. */
    readonly logits: MaskLogits,
  ) {}

  /** The picture's, in pixels. */
  get height(): number {
    return this.rle.size[0];
  }

  /** The picture's, in pixels. */
  get width(): number {
    return this.rle.size[1];
  }

  /** height · width bytes, row-major, 1 inside. */
  pixels(): Uint8Array {
    return decodeRle(this.rle);
  }

  /** pycocotools' text form of the run lengths. */
  compressedRle(): CompressedRle {
    return compressRle(this.rle);
  }

  /** White on black, at the picture's size. */
  toPng(options?: PngOptions): Promise<Buffer> {
    return maskToPng(this.pixels(), this.height, this.width, options);
  }

  /** Outlines with holes, in pixel corners; exact unless a tolerance is given. */
  polygons(options?: PolygonOptions): Polygon[] {
    return maskToPolygons(this.pixels(), this.height, this.width, options);
  }
}
