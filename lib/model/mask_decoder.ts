import type { Graph, Value } from '../graph/graph.js';
import { add } from '../graph/ops/add.js';
import { attention } from '../graph/ops/attention.js';
import { cast } from '../graph/ops/cast.js';
import { concat } from '../graph/ops/concat.js';
import { depthToSpace } from '../graph/ops/depth_to_space.js';
import { expand } from '../graph/ops/expand.js';
import { matmul } from '../graph/ops/matmul.js';
import { slice } from '../graph/ops/slice.js';
import type { DecoderConfig } from '../weights/config.js';
import { type ComputeType, linearLayer, normLayer, upscaleLayer, weight } from './layers.js';
import type { EncodedPrompts } from './prompt_encoder.js';

export interface Decoded {
  /** Logits of all masks (P, masks, 4h, 4w); mask 0 is the single-mask answer. */
  masks: Value;
  /** Predicted IoUs (P, masks), raw. */
  ious: Value;
}

/**
 * Segment Anything's mask decoder (arXiv 2304.02643), weights under `decode_head`.
 * @param embedding (P or 1, h, w, E): one image for all prompts, or one each.
 * @param lengths Number of tokens of each item that count, i32 (P): 1 + masks + its points. Absent: all.
 * @param compute What products over the image's tokens are made of; training alone leaves f32.
 */
export function maskDecoder(
  graph: Graph,
  embedding: Value,
  prompts: EncodedPrompts,
  config: DecoderConfig,
  lengths?: Value,
  compute: ComputeType = 'f32',
): Decoded {
  const { dim, multimaskOutputs } = config;
  const batch = prompts.sparse.shape[0]!;
  const masks = multimaskOutputs + 1;
  const [, h, w] = embedding.shape;
  return graph.scope('decode_head', () => {
    const own = [
      weight(graph, 'iou_token.weight', [1, dim]),
      weight(graph, 'mask_tokens.weight', [masks, dim]),
    ];
    const outputTokens = graph.reshape(concat(graph, own, 0), [1, 1 + masks, dim]);
    const tokens = concat(graph, [expand(graph, outputTokens, batch), prompts.sparse], 1);
    const larger = embedding.shape[0]! >= prompts.dense.shape[0]!;
    const source = larger ? add(graph, embedding, prompts.dense) : add(graph, prompts.dense, embedding);
    const image = graph.reshape(expand(graph, source, batch), [batch, h! * w!, dim]);
    const positions = graph.reshape(prompts.imagePositions, [1, h! * w!, dim]);
    const { queries, keys } = graph.scope('transformer', () =>
      twoWayTransformer(graph, tokens, image, positions, config, lengths, compute),
    );
    const kernels = Array.from({ length: masks }, (_, i) =>
      mlp(graph, `output_hypernetworks_mlps.${i}`, slice(graph, queries, 1, 1 + i, 2 + i), [
        dim,
        dim,
        dim / 8,
      ]),
    );
    const map = upscale(graph, graph.reshape(keys, [batch, h!, w!, dim]), dim, compute);
    const iouWidths = Array.from({ length: config.iouDepth }, (_, i) =>
      i === config.iouDepth - 1 ? masks : config.iouHiddenDim,
    );
    const ious = mlp(graph, 'iou_prediction_head', slice(graph, queries, 1, 0, 1), iouWidths);
    return {
      masks: assemble(graph, concat(graph, kernels, 1), map),
      ious: graph.reshape(ious, [batch, masks]),
    };
  });
}

/** keys (P, h, w, E) → (P, 2h, 2w, 4·E/8): the last four pixels still side by side. */
export function upscale(graph: Graph, keys: Value, dim: number, compute: ComputeType = 'f32'): Value {
  return graph.scope('output_upscaling', () => {
    const source = cast(graph, keys, compute);
    const doubled = depthToSpace(graph, upscaleLayer(graph, '0', source, dim / 4, { dtype: 'f32' }), 2);
    const normed = normLayer(graph, '1', doubled, { eps: 1e-6, activation: 'gelu', dtype: compute });
    return upscaleLayer(graph, '3', normed, dim / 8, { activation: 'gelu', dtype: 'f32' });
  });
}

/** kernels (P, masks, E/8) times the map (P, 2h, 2w, 4·E/8), its pixels put in place → (P, masks, 4h, 4w). */
function assemble(graph: Graph, kernels: Value, map: Value): Value {
  const [batch, masks, width] = kernels.shape as [number, number, number];
  const [, h, w] = map.shape as [number, number, number];
  const pixels = graph.reshape(map, [batch, h * w * 4, width]);
  const product = graph.reshape(matmul(graph, kernels, pixels), [batch * masks, h, w, 4]);
  return graph.reshape(depthToSpace(graph, product, 2), [batch, masks, 2 * h, 2 * w]);
}

function mlp(graph: Graph, name: string, x: Value, widths: readonly number[]): Value {
  return graph.scope(name, () =>
    widths.reduce((value, width, i) => {
      const activation = i < widths.length - 1 ? 'relu' : 'none';
      return linearLayer(graph, `layers.${i}`, value, width, { activation });
    }, x),
  );
}

/** tokens (P, n, E) and image (P, h·w, E) attend to each other; positions (1, h·w, E). */
export function twoWayTransformer(
  graph: Graph,
  tokens: Value,
  image: Value,
  positions: Value,
  config: DecoderConfig,
  lengths?: Value,
  compute: ComputeType = 'f32',
): { queries: Value; keys: Value } {
  const { dim, depth, heads, mlpDim, downsampleRate } = config;
  const inner = dim / downsampleRate;
  // Tokens beyond an item's length are never keys; as queries they change nothing but themselves.
  const attend = (
    name: string,
    q: Value,
    k: Value,
    v: Value,
    width: number,
    residual?: Value,
    limit?: Value,
  ) => attentionLayer(graph, name, { q, k, v, width, residual, lengths: limit }, heads, compute);
  let queries = tokens;
  let keys = image;
  for (let i = 0; i < depth; i++) {
    graph.scope(`layers.${i}`, () => {
      const q = i === 0 ? queries : add(graph, queries, tokens);
      // The first layer's self-attention has neither position codes nor a residual.
      const selfAttended = attend('self_attn', q, q, queries, dim, i === 0 ? undefined : queries, lengths);
      queries = normLayer(graph, 'norm1', selfAttended);
      const placed = add(graph, keys, positions);
      queries = normLayer(
        graph,
        'norm2',
        attend('cross_attn_token_to_image', add(graph, queries, tokens), placed, keys, inner, queries),
      );
      const hidden = graph.scope('mlp', () =>
        linearLayer(graph, 'lin1', queries, mlpDim, { activation: 'relu' }),
      );
      const residual = queries;
      queries = normLayer(
        graph,
        'norm3',
        graph.scope('mlp', () => linearLayer(graph, 'lin2', hidden, dim, { residual })),
      );
      const answer = add(graph, queries, tokens);
      keys = normLayer(
        graph,
        'norm4',
        attend('cross_attn_image_to_token', placed, answer, queries, inner, keys, lengths),
      );
      graph.mark(`layers.${i}.queries`, queries);
      graph.mark(`layers.${i}.keys`, keys);
    });
  }
  const placed = add(graph, keys, positions);
  const final = attend(
    'final_attn_token_to_image',
    add(graph, queries, tokens),
    placed,
    keys,
    inner,
    queries,
  );
  return {
    queries: graph.mark('queries', normLayer(graph, 'norm_final_attn', final)),
    keys: graph.mark('keys', keys),
  };
}

interface AttentionInputs {
  q: Value;
  k: Value;
  v: Value;
  width: number;
  residual?: Value;
  lengths?: Value;
}

function attentionLayer(
  graph: Graph,
  name: string,
  { q, k, v, width, residual, lengths }: AttentionInputs,
  heads: number,
  compute: ComputeType,
): Value {
  return graph.scope(name, () => {
    const project = (layer: string, x: Value) => linearLayer(graph, layer, cast(graph, x, compute), width);
    const projected = { k: project('k_proj', k), v: project('v_proj', v) };
    const attended = attention(graph, project('q_proj', q), projected, { heads, lengths });
    const options = { residual, dtype: 'f32' } as const;
    return graph.mark(graph.layer, linearLayer(graph, 'out_proj', attended, q.shape[2]!, options));
  });
}
