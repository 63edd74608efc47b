import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { permute } from './permute.js';
import { sumToShape } from './sum_rows.js';

export const matmulOp: OpDefinition = {
  name: 'matmul',
  operands: ['a', 'b'],
  infer({ operands, fail }) {
    const [batch, m, k] = operands.a!.shape;
    const [batchB, n, kB] = operands.b!.shape;
    const ranks = operands.a!.shape.length === 3 && operands.b!.shape.length === 3;
    if (!ranks || k !== kB || (batchB !== batch && batchB !== 1))
      return fail('a (B, M, K), b (B or 1, N, K)');
    if (k! < 1) fail('K from 1');
    return { shape: [batch!, m!, n!], dtype: 'f32' };
  },
  flops: ({ operands, result }) => 2 * elementCount(result.shape) * operands.a!.shape.at(-1)!,
  gradient({ graph, node, dy, wants }) {
    const { a, b } = node.operands as Record<string, Value>;
    const swapped = (value: Value) => permute(graph, value, [0, 2, 1]);
    return {
      a: wants('a') ? matmul(graph, dy, swapped(b!)) : undefined,
      b: wants('b') ? sumToShape(graph, matmul(graph, swapped(dy), swapped(a!)), b!.shape) : undefined,
    };
  },
};

/** a (B, M, K) · b (B or 1, N, K)ᵀ → (B, M, N), f32. */
export function matmul(graph: Graph, a: Value, b: Value): Value {
  return graph.add(matmulOp, { a, b });
}
