import { optionsOf } from '../../options.js';
import type { DType } from '../../runtime/dtype.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { type Activation, activation as activate, activationFlops, activationNumber } from './activation.js';
import { layerNormGradient } from './layer_norm_gradient.js';
import { layerNormParametersGradient } from './layer_norm_parameters_gradient.js';
import { mul } from './mul.js';

export const layerNormOp: OpDefinition = {
  name: 'layer_norm',
  operands: ['x', 'weight', 'bias', 'gate?'],
  attributes: { eps: 'number', activation: 'number' },
  inPlace: 'x',
  infer({ operands, attributes, dtype, fail }) {
    const { x, weight, bias, gate } = operands as Record<string, Value>;
    const channels = x!.shape.at(-1);
    if (weight!.shape.join() !== `${channels}` || bias!.shape.join() !== `${channels}`)
      return fail(`weight and bias (${channels})`);
    if (!((attributes.eps as number) >= 0)) return fail('eps of at least 0');
    if (gate && gate.shape.join() !== x!.shape.join()) return fail('gate of the shape of x');
    return { shape: x!.shape, dtype: dtype ?? x!.dtype };
  },
  flops({ attributes, result }) {
    const elements = elementCount(result.shape);
    return 8 * elements + activationFlops(attributes.activation as number, elements);
  },
  gradient({ graph, node, dy, wants }) {
    const { x, weight } = node.operands as Record<string, Value>;
    const eps = node.attributes.eps as number;
    const both =
      wants('weight') || wants('bias') ? layerNormParametersGradient(graph, x!, dy, eps) : undefined;
    const part = (i: number) => both && graph.reshape(graph.rows(both, i, i + 1), weight!.shape);
    return {
      x: wants('x') ? layerNormGradient(graph, x!, weight!, dy, eps) : undefined,
      weight: part(0),
      bias: part(1),
    };
  },
};

/** Options of `layerNorm`. */
export interface LayerNormOptions {
  /** Added to the variance, at least 0. Default 1e-5. */
  eps?: number;
  /** Applied to the normalised values, before the gate. Default `none`. */
  activation?: Activation;
  /** Multiplied to the result, element by element. */
  gate?: Value;
  /** Type of the result; default: x's. */
  dtype?: DType;
}

const checkOptions = optionsOf<LayerNormOptions>({ eps: true, activation: true, gate: true, dtype: true });

/** LayerNorm over the last axis (channels): act((x − mean) / √(var + eps) · weight + bias) · gate. */
export function layerNorm(
  graph: Graph,
  x: Value,
  weight: Value,
  bias: Value,
  options: LayerNormOptions = {},
): Value {
  checkOptions(options, 'layer_norm');
  const { eps = 1e-5, activation = 'none', gate, dtype } = options;
  if (graph.differentiable && (activation !== 'none' || gate)) {
    const normed = layerNorm(graph, x, weight, bias, { eps, dtype });
    const activated = activation === 'none' ? normed : activate(graph, normed, activation);
    return gate ? mul(graph, activated, gate) : activated;
  }
  const attributes = { eps, activation: activationNumber(activation, 'layer_norm') };
  return graph.add(layerNormOp, { x, weight, bias, gate }, attributes, dtype);
}
