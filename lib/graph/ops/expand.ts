import type { Graph, OpDefinition, Value } from '../graph.js';

export const expandOp: OpDefinition = {
  name: 'expand',
  operands: ['x'],
  infer: ({ operands, attributes }) => ({
    shape: [attributes.batch as number, ...operands.x!.shape.slice(1)],
    dtype: operands.x!.dtype,
  }),
  flops: () => 0,
};

/** x (1, …) repeated `batch` times → (batch, …). */
export function expand(graph: Graph, x: Value, batch: number): Value {
  return x.shape[0] === batch ? x : graph.add(expandOp, { x }, { batch });
}
