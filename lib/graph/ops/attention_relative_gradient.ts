import { elementCount } from '../../runtime/dtype.js';
import { flatCount, splitFlat } from '../flat.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';

const TABLES = ['rel_h', 'rel_w'];

export const attentionRelativeGradientOp: OpDefinition = {
  name: 'attention_relative_gradient',
  operands: ['q', 'dy', 'rel_h', 'rel_w', 'k?', 'v?', 'lengths?'],
  infer: ({ operands }) => ({ shape: [flatCount(operands, TABLES)], dtype: 'f32' }),
  flops: ({ operands }: Node) => 8 * elementCount(operands.dy!.shape) * (operands.k ?? operands.q!).shape[1]!,
};

/** Gradients of rel_h (qh, kh, d) and rel_w (qw, kw, d) of attention, f32. Attributes as those of attention. */
export function attentionRelativeGradient(graph: Graph, node: Node, dy: Value): Record<string, Value> {
  const flat = graph.add(attentionRelativeGradientOp, { ...node.operands, dy }, node.attributes);
  return splitFlat(graph, flat, node.operands, TABLES);
}
