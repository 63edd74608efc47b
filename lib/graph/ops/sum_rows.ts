import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { expand } from './expand.js';

export const sumRowsOp: OpDefinition = {
  name: 'sum_rows',
  operands: ['x'],
  infer({ operands, fail }) {
    const [, columns] = operands.x!.shape;
    return operands.x!.shape.length === 2 ? { shape: [columns!], dtype: 'f32' } : fail('x (rows, columns)');
  },
  flops: ({ operands }) => elementCount(operands.x!.shape),
  gradient: ({ graph, node, dy }) => ({
    x: expand(graph, graph.reshape(dy, [1, ...dy.shape]), node.operands.x!.shape[0]!),
  }),
};

/** The sum of all rows, x (rows, columns) → (columns), f32, in an order that only the shape decides. */
export function sumRows(graph: Graph, x: Value): Value {
  return graph.add(sumRowsOp, { x });
}

/** Adds up what was repeated over the leading axes: x → the last elements of `shape`. */
export function sumToShape(graph: Graph, x: Value, shape: readonly number[]): Value {
  const size = elementCount(shape);
  if (size === elementCount(x.shape)) return graph.reshape(x, shape);
  return graph.reshape(sumRows(graph, graph.reshape(x, [-1, size])), shape);
}
