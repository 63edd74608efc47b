import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';

export const windowAttentionGradientOp: OpDefinition = {
  name: 'window_attention_gradient',
  operands: ['qkv', 'dy', 'pad?', 'rel_h?', 'rel_w?'],
  infer({ operands, fail }) {
    const { qkv, dy } = operands as Record<string, Value>;
    const [batch, tokens, triple] = qkv!.shape as [number, number, number];
    if (dy!.shape.join() !== [batch, tokens, triple / 3].join()) return fail('qkv (B, L, 3C), dy (B, L, C)');
    return { shape: [batch * tokens + 1, triple], dtype: qkv!.dtype };
  },
  flops: ({ operands, attributes }: Node) =>
    10 * elementCount(operands.dy!.shape) * (attributes.window as number) ** 2,
};

/**
 * Gradient of window attention: row by row that of qkv, (B·L, 3C), and one more row, the sum over all padded positions:
 * the gradient of `pad`. Logits are computed again. Attributes as those of window_attention.
 */
export function windowAttentionGradient(graph: Graph, node: Node, dy: Value): { qkv: Value; pad: Value } {
  const rows = graph.add(windowAttentionGradientOp, { ...node.operands, dy }, node.attributes);
  const { qkv } = node.operands as Record<string, Value>;
  const count = rows.shape[0]! - 1;
  return {
    qkv: graph.reshape(graph.rows(rows, 0, count), qkv!.shape),
    pad: graph.rows(rows, count, count + 1),
  };
}
