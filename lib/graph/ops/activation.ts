import { HrsamError } from '../../errors.js';
import type { DType } from '../../runtime/dtype.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { activationGradient } from './activation_gradient.js';

/** Activations by the number that plans carry. GELU is the erf form. */
export const ACTIVATIONS = { none: 0, gelu: 1, silu: 2, relu: 3, sigmoid: 4 } as const;
/** An activation by its name. */
export type Activation = keyof typeof ACTIVATIONS;

/** @throws HrsamError ERR_ARGUMENT for what is no activation */
export function activationNumber(name: Activation, where: string): number {
  if (Object.hasOwn(ACTIVATIONS, name)) return ACTIVATIONS[name];
  const expected = Object.keys(ACTIVATIONS).join(', ');
  throw new HrsamError('ERR_ARGUMENT', 'activation', { where, expected, actual: String(name) });
}

/** Of an activation that another op does with its result, too. @param activation as plans number it */
export const activationFlops = (activation: number, elements: number): number =>
  activation === ACTIVATIONS.none ? 0 : 8 * elements;

export const activationOp: OpDefinition = {
  name: 'activation',
  operands: ['x'],
  attributes: { activation: 'number' },
  inPlace: 'x',
  infer: ({ operands, dtype }) => ({ shape: operands.x!.shape, dtype: dtype ?? operands.x!.dtype }),
  flops: ({ attributes, result }) =>
    activationFlops(attributes.activation as number, elementCount(result.shape)),
  gradient: ({ graph, node: { operands, attributes }, dy }) => ({
    x: activationGradient(graph, operands.x!, dy, attributes.activation as number),
  }),
};

/** x of any shape → act(x). */
export function activation(graph: Graph, x: Value, name: Activation, dtype?: DType): Value {
  return graph.add(activationOp, { x }, { activation: activationNumber(name, 'activation') }, dtype);
}
