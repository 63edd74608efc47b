import type { DType } from '../../runtime/dtype.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { ACTIVATIONS, type Activation } from './activation.js';

export const layerNormOp: OpDefinition = {
  name: 'layer_norm',
  operands: ['x', 'weight', 'bias', 'gate?'],
  inPlace: 'x',
  infer({ operands, dtype, fail }) {
    const { x, weight, bias, gate } = operands as Record<string, Value>;
    const channels = x!.shape.at(-1);
    if (weight!.shape.join() !== `${channels}` || bias!.shape.join() !== `${channels}`)
      return fail(`weight and bias (${channels})`);
    if (gate && gate.shape.join() !== x!.shape.join()) return fail('gate of the shape of x');
    return { shape: x!.shape, dtype: dtype ?? x!.dtype };
  },
  flops: ({ result }) => 8 * elementCount(result.shape),
};

export interface LayerNormOptions {
  eps?: number;
  activation?: Activation;
  /** Multiplied to the result, element by element. */
  gate?: Value;
  dtype?: DType;
}

/** LayerNorm over the last axis (channels): act((x − mean) / √(var + eps) · weight + bias) · gate. */
export function layerNorm(
  graph: Graph,
  x: Value,
  weight: Value,
  bias: Value,
  options: LayerNormOptions = {},
): Value {
  const { eps = 1e-5, activation = 'none', gate, dtype } = options;
  return graph.add(
    layerNormOp,
    { x, weight, bias, gate },
    { eps, activation: ACTIVATIONS[activation] },
    dtype,
  );
}
