import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';

export const windowAttentionRelativeGradientOp: OpDefinition = {
  name: 'window_attention_relative_gradient',
  operands: ['qkv', 'dy', 'rel_h', 'rel_w', 'pad?'],
  infer: ({ operands }) => ({ shape: [2, ...operands.rel_h!.shape], dtype: 'f32' }),
  flops: ({ operands, attributes }: Node) =>
    8 * elementCount(operands.dy!.shape) * (attributes.window as number) ** 2,
};

/** Gradients of rel_h and rel_w of window attention, each (window, window, d) f32. Attributes as those of window_attention. */
export function windowAttentionRelativeGradient(
  graph: Graph,
  node: Node,
  dy: Value,
): { rel_h: Value; rel_w: Value } {
  const both = graph.add(windowAttentionRelativeGradientOp, { ...node.operands, dy }, node.attributes);
  const part = (i: number) => graph.reshape(graph.rows(both, i, i + 1), both.shape.slice(1));
  return { rel_h: part(0), rel_w: part(1) };
}
