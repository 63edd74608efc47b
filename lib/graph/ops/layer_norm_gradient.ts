import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const layerNormGradientOp: OpDefinition = {
  name: 'layer_norm_gradient',
  operands: ['x', 'weight', 'dy'],
  attributes: { eps: 'number' },
  inPlace: 'dy',
  infer({ operands, fail }) {
    const { x, weight, dy } = operands as Record<string, Value>;
    if (x!.shape.join() !== dy!.shape.join() || weight!.shape.join() !== `${x!.shape.at(-1)}`)
      return fail('x and dy (…, C), weight (C)');
    return { shape: x!.shape, dtype: x!.dtype };
  },
  flops: ({ result }) => 14 * elementCount(result.shape),
};

/** Gradient of LayerNorm's argument: x, dy (…, C), weight (C) → (…, C). */
export function layerNormGradient(graph: Graph, x: Value, weight: Value, dy: Value, eps: number): Value {
  return graph.add(layerNormGradientOp, { x, weight, dy }, { eps });
}
