import type { Graph, OpDefinition, Value } from '../graph.js';

export const permuteOp: OpDefinition = {
  name: 'permute',
  operands: ['x'],
  attributes: { order: 'list' },
  infer({ operands, attributes, fail }) {
    const { x } = operands as Record<string, Value>;
    const order = attributes.order as number[];
    if ([...order].sort().join() !== x!.shape.map((_, i) => i).join())
      return fail(`x of rank ${order.length}`);
    return { shape: order.map((axis) => x!.shape[axis]!), dtype: x!.dtype };
  },
  flops: () => 0,
  gradient({ graph, node, dy }) {
    const order = node.attributes.order as number[];
    return {
      x: permute(
        graph,
        dy,
        order.map((_, axis) => order.indexOf(axis)),
      ),
    };
  },
};

/** x with its axes in another order. */
export function permute(graph: Graph, x: Value, order: readonly number[]): Value {
  return graph.add(permuteOp, { x }, { order });
}
