import type { DType } from '../../runtime/dtype.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const mulOp: OpDefinition = {
  name: 'mul',
  operands: ['a', 'b'],
  inPlace: 'a',
  infer({ operands, dtype, fail }) {
    const { a, b } = operands as Record<string, Value>;
    if (a!.shape.join() !== b!.shape.join()) return fail('a and b of one shape');
    return { shape: a!.shape, dtype: dtype ?? a!.dtype };
  },
  flops: ({ result }) => elementCount(result.shape),
  gradient: ({ graph, node: { operands }, dy, wants }) => ({
    a: wants('a') ? mul(graph, dy, operands.b!) : undefined,
    b: wants('b') ? mul(graph, dy, operands.a!) : undefined,
  }),
};

/** a · b, element by element. */
export function mul(graph: Graph, a: Value, b: Value, dtype?: DType): Value {
  return graph.add(mulOp, { a, b }, {}, dtype);
}
