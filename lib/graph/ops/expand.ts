import type { Graph, OpDefinition, Value } from '../graph.js';
import { sumToShape } from './sum_rows.js';

export const expandOp: OpDefinition = {
  name: 'expand',
  operands: ['x'],
  attributes: { batch: 'number' },
  infer({ operands, attributes, fail }) {
    const { shape, dtype } = operands.x!;
    if (shape[0] !== 1) return fail('x (1, …)');
    return { shape: [attributes.batch as number, ...shape.slice(1)], dtype };
  },
  flops: () => 0,
  gradient: ({ graph, node, dy }) => ({ x: sumToShape(graph, dy, node.operands.x!.shape) }),
};

/** x (1, …) repeated `batch` times → (batch, …). */
export function expand(graph: Graph, x: Value, batch: number): Value {
  graph.checkOwn(x, 'expand');
  return x.shape[0] === batch ? x : graph.add(expandOp, { x }, { batch });
}
