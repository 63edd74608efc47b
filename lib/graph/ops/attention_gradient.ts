import { flatCount, splitFlat } from '../flat.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';
import { gridSquares, gridsOf } from '../grid.js';

const INPUTS = ['q', 'k', 'v'];

export const attentionGradientOp: OpDefinition = {
  name: 'attention_gradient',
  operands: ['q', 'dy', 'k?', 'v?', 'lengths?', 'rel_h?', 'rel_w?'],
  infer: ({ operands }) => ({ shape: [flatCount(operands, INPUTS)], dtype: operands.q!.dtype }),
  flops({ operands, attributes }: Node) {
    const { q, k, dy } = operands as Record<string, Value>;
    const tokens = q!.shape[1]!;
    const pairs = k ? tokens * k.shape[1]! : gridSquares(gridsOf(attributes.grids)) || tokens ** 2;
    return 10 * dy!.shape[0]! * pairs * dy!.shape[2]!;
  },
};

/** Gradients of attention's q, k and v (or of the packed q alone), of their shapes. Attributes as those of attention. */
export function attentionGradient(graph: Graph, node: Node, dy: Value): Record<string, Value> {
  const flat = graph.add(attentionGradientOp, { ...node.operands, dy }, node.attributes);
  return splitFlat(graph, flat, node.operands, INPUTS);
}
