import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';

export const attentionRelativeGradientOp: OpDefinition = {
  name: 'attention_relative_gradient',
  operands: ['q', 'dy', 'rel_h', 'rel_w', 'k?', 'v?', 'lengths?'],
  infer: ({ operands }) => ({
    shape: [elementCount(operands.rel_h!.shape) + elementCount(operands.rel_w!.shape)],
    dtype: 'f32',
  }),
  flops: ({ operands }: Node) => 8 * elementCount(operands.dy!.shape) * (operands.k ?? operands.q!).shape[1]!,
};

/** Gradients of rel_h (qh, kh, d) and rel_w (qw, kw, d) of attention, f32. Attributes as those of attention. */
export function attentionRelativeGradient(
  graph: Graph,
  node: Node,
  dy: Value,
): { rel_h: Value; rel_w: Value } {
  const flat = graph.add(attentionRelativeGradientOp, { ...node.operands, dy }, node.attributes);
  const { rel_h: relH, rel_w: relW } = node.operands as Record<string, Value>;
  const split = elementCount(relH!.shape);
  return {
    rel_h: graph.reshape(graph.rows(flat, 0, split), relH!.shape),
    rel_w: graph.reshape(graph.rows(flat, split, flat.shape[0]!), relW!.shape),
  };
}
