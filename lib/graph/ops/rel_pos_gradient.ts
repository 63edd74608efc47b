import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const relPosGradientOp: OpDefinition = {
  name: 'rel_pos_gradient',
  operands: ['dy'],
  attributes: { length: 'number' },
  infer({ operands, attributes, fail }) {
    const { dy } = operands as Record<string, Value>;
    if (dy!.shape.length !== 3) return fail('dy (q, k, d)');
    return { shape: [attributes.length as number, dy!.shape[2]!], dtype: 'f32' };
  },
  flops: ({ operands }) => elementCount(operands.dy!.shape),
};

/** The adjoint of rel_pos: dy (q, k, d) → gradient of the table (length, d) f32. */
export function relPosGradient(graph: Graph, dy: Value, length: number): Value {
  return graph.add(relPosGradientOp, { dy }, { length });
}
