/**
 * Every op, to be used inside a graph: `(graph, …values, options) → value`.
 * @throws HrsamError ERR_SHAPE for values that do not fit, ERR_ARGUMENT for what is no value of the graph and for options
 */
export type { Grid } from './grid.js';
export { type Activation, activation } from './ops/activation.js';
export { add } from './ops/add.js';
export { type AttentionOptions, attention } from './ops/attention.js';
export { bilinearResize } from './ops/bilinear_resize.js';
export { cast, copy } from './ops/cast.js';
export { concat } from './ops/concat.js';
export { type CycleScanOptions, cycleScan } from './ops/cycle_scan.js';
export { depthToSpace } from './ops/depth_to_space.js';
export { depthwiseConv } from './ops/depthwise_conv.js';
export { expand } from './ops/expand.js';
export { im2col, type PatchOptions } from './ops/im2col.js';
export { type LayerNormOptions, layerNorm } from './ops/layer_norm.js';
export { type LinearOptions, linear } from './ops/linear.js';
export { type MaskSummaryOptions, maskSummary } from './ops/mask_summary.js';
export { type MaskThresholdOptions, maskThreshold } from './ops/mask_threshold.js';
export { matmul } from './ops/matmul.js';
export { permute } from './ops/permute.js';
export { positionEncoding } from './ops/position_encoding.js';
export { type PreprocessOptions, preprocess } from './ops/preprocess.js';
export { type PointTables, promptPoints } from './ops/prompt_points.js';
export { relPos } from './ops/rel_pos.js';
export { scaleSamples } from './ops/scale_samples.js';
export { slice } from './ops/slice.js';
export { type Rope, type WindowAttentionOptions, windowAttention } from './ops/window_attention.js';
