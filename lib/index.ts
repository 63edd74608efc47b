/** hrsam: segment anything at full resolution, from Node. Everything that is public, and nothing else. */
export { type ErrorCode, HrsamError } from './errors.js';
export { type Build, type EvaluateOptions, evaluate, program } from './graph/evaluate.js';
export { Graph, type GraphOptions, type Value } from './graph/graph.js';
export * as ops from './graph/ops.js';
export { type DecodeLimits, decodeImage, type ImageSource } from './image/decode.js';
export { type OverlayOptions, type Rgb, renderOverlay } from './image/overlay.js';
export { embeddingToRgb } from './image/pca.js';
export type { GivenPixels, Pixels } from './image/pixels.js';
export type { PngOptions } from './image/png.js';
export type { Polygon, PolygonOptions } from './image/polygons.js';
export type { Size } from './image/resize.js';
export {
  type CompressedRle,
  compressRle,
  decodeRle,
  decompressRle,
  encodeRle,
  type Rle,
} from './image/rle.js';
export type { Ring } from './image/simplify.js';
export type { Precision } from './model/layers.js';
export type { FoundMask } from './predictor/everything.js';
export { EVERYTHING, type EverythingOptions } from './predictor/everything_options.js';
export { type EncodeOptions, HRSAM, type LoadOptions } from './predictor/hrsam.js';
export { EncodedImage, type Masks, type SegmentOptions, type SegmentRequest } from './predictor/image.js';
export { Mask } from './predictor/mask.js';
export type { MaskLogits, Prompt } from './predictor/prompts.js';
export type { Multimask } from './predictor/select.js';
export { type Click, type ClickOptions, ClickSession } from './predictor/session.js';
export { type StabilityOptions, stabilityScore } from './predictor/stability.js';
export type { DeviceInfo, MaskEncoding } from './runtime/addon.js';
export { Device, type MemoryReport } from './runtime/device.js';
export type { DType, Shape } from './runtime/dtype.js';
export { Program, type ProgramRunOptions, type Tensors } from './runtime/program.js';
export { type DataOf, Tensor, type TensorData } from './runtime/tensor.js';
export type { HrsamConfig, ModelConfig, SamConfig } from './weights/config.js';
export { type Converted, type ConvertOptions, convert } from './weights/convert.js';
