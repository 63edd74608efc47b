import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const activationGradientOp: OpDefinition = {
  name: 'activation_gradient',
  operands: ['x', 'dy'],
  attributes: { activation: 'number' },
  inPlace: 'dy',
  infer({ operands, fail }) {
    const { x, dy } = operands as Record<string, Value>;
    return x!.shape.join() === dy!.shape.join()
      ? { shape: x!.shape, dtype: dy!.dtype }
      : fail('x and dy of one shape');
  },
  flops: ({ result }) => 12 * elementCount(result.shape),
};

/** dy · act′(x), x being the activation's argument; `activation` is its number in ACTIVATIONS. */
export function activationGradient(graph: Graph, x: Value, dy: Value, activation: number): Value {
  return graph.add(activationGradientOp, { x, dy }, { activation });
}
