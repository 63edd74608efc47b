import type { Graph, Value } from '../graph/graph.js';
import { add } from '../graph/ops/add.js';
import { concat } from '../graph/ops/concat.js';
import { im2col, type PatchOptions } from '../graph/ops/im2col.js';
import { type LayerNormOptions, layerNorm } from '../graph/ops/layer_norm.js';
import { type LinearOptions, linear } from '../graph/ops/linear.js';
import { linearFp8Op } from '../graph/ops/linear_fp8.js';
import { permute } from '../graph/ops/permute.js';
import { scaleSamples } from '../graph/ops/scale_samples.js';
import type { DType, Shape } from '../runtime/dtype.js';

/** What linears and attention compute in; the residual stream, scans and the decoder stay f32. */
export type ComputeType = Extract<DType, 'f32' | 'bf16'>;

/** What a model is asked for: fp8 has e4m3 products in the encoder's large linears and is bf16 elsewhere. */
export const PRECISIONS = ['f32', 'bf16', 'fp8'] as const;
/** What linears and attention compute in. */
export type Precision = (typeof PRECISIONS)[number];

export const computeType = (precision: Precision): ComputeType => (precision === 'fp8' ? 'bf16' : precision);

/** Smaller layers gain nothing from e4m3. */
const FP8_WIDTH = 128;

/** A weight of the current layer, by the end of its official name. */
export const weight = (graph: Graph, name: string, shape: Shape): Value =>
  graph.constant(`${graph.layer}.${name}`, shape);

/** The linear layer `name`: x (…, K) → (…, outer). */
export function linearLayer(
  graph: Graph,
  name: string,
  x: Value,
  outer: number,
  options: Omit<LinearOptions, 'bias'> & { bias?: boolean } = {},
): Value {
  return graph.scope(name, () => {
    const bias = options.bias === false ? undefined : weight(graph, 'bias', [outer]);
    const inner = x.shape.at(-1)!;
    const fp8 = graph.fp8 && x.dtype === 'bf16' && Math.min(inner, outer) >= FP8_WIDTH;
    const op = fp8 ? linearFp8Op : undefined;
    return linear(graph, x, weight(graph, 'weight', [outer, inner]), { ...options, bias, op });
  });
}

/**
 * The linear layer `name` at the end of a residual branch: x + y·Wᵀ + bias, of x's shape.
 * @param scale (B) what each sample's branch counts: drop path
 */
export function residualLayer(graph: Graph, name: string, y: Value, x: Value, scale?: Value): Value {
  const outer = x.shape.at(-1)!;
  if (!scale) return linearLayer(graph, name, y, outer, { residual: x });
  return add(graph, scaleSamples(graph, linearLayer(graph, name, y, outer, { dtype: x.dtype }), scale), x);
}

/** The normalisation layer `name` over the last axis. */
export function normLayer(graph: Graph, name: string, x: Value, options: LayerNormOptions = {}): Value {
  const shape = [x.shape.at(-1)!];
  return graph.scope(name, () =>
    layerNorm(graph, x, weight(graph, 'weight', shape), weight(graph, 'bias', shape), options),
  );
}

/** A square convolution `name` as patches times weight: x (B, h, w, C), or (B, C, h, w) without channelsLast → (B, ho, wo, outer). */
export function convolution(
  graph: Graph,
  name: string,
  x: Value,
  outer: number,
  patches: PatchOptions,
  options: Omit<LinearOptions, 'bias'> & { bias?: boolean } = {},
): Value {
  return graph.scope(name, () => {
    const { kernel, channelsLast = true } = patches;
    const channels = x.shape[channelsLast ? 3 : 1]!;
    const raw = weight(graph, 'weight', [outer, channels, kernel, kernel]);
    const ordered = channelsLast && kernel > 1 ? permute(graph, raw, [0, 2, 3, 1]) : raw;
    const matrix = graph.reshape(ordered, [outer, kernel * kernel * channels]);
    const bias = options.bias === false ? undefined : weight(graph, 'bias', [outer]);
    const rows = kernel === 1 ? x : im2col(graph, x, patches);
    return linear(graph, rows, matrix, { ...options, bias });
  });
}

/**
 * A transposed 2×2 convolution of stride 2 `name`, its four output pixels side by side: x (…, C) → (…, 4·outer), the
 * last axis ordered (row, column, channel).
 */
export function upscaleLayer(
  graph: Graph,
  name: string,
  x: Value,
  outer: number,
  options: Omit<LinearOptions, 'bias'> = {},
): Value {
  return graph.scope(name, () => {
    const inner = x.shape.at(-1)!;
    const raw = weight(graph, 'weight', [inner, outer, 2, 2]);
    const matrix = graph.reshape(permute(graph, raw, [2, 3, 1, 0]), [4 * outer, inner]);
    const bias = weight(graph, 'bias', [outer]);
    return linear(graph, x, matrix, { ...options, bias: concat(graph, [bias, bias, bias, bias], 0) });
  });
}
