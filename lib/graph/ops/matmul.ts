import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const matmulOp: OpDefinition = {
  name: 'matmul',
  operands: ['a', 'b'],
  infer({ operands, fail }) {
    const [batch, m, k] = operands.a!.shape;
    const [batchB, n, kB] = operands.b!.shape;
    const ranks = operands.a!.shape.length === 3 && operands.b!.shape.length === 3;
    if (!ranks || k !== kB || (batchB !== batch && batchB !== 1))
      return fail('a (B, M, K), b (B or 1, N, K)');
    return { shape: [batch!, m!, n!], dtype: 'f32' };
  },
  flops: ({ operands, result }) => 2 * elementCount(result.shape) * operands.a!.shape.at(-1)!,
};

/** a (B, M, K) · b (B or 1, N, K)ᵀ → (B, M, N), f32. */
export function matmul(graph: Graph, a: Value, b: Value): Value {
  return graph.add(matmulOp, { a, b });
}
