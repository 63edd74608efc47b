import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';

const inputs = (operands: Record<string, Value>): [string, Value][] =>
  (['q', 'k', 'v'] as const).flatMap((name) =>
    operands[name] ? [[name, operands[name]] as [string, Value]] : [],
  );

export const attentionGradientOp: OpDefinition = {
  name: 'attention_gradient',
  operands: ['q', 'dy', 'k?', 'v?', 'lengths?', 'rel_h?', 'rel_w?'],
  infer({ operands }) {
    const size = inputs(operands).reduce((sum, [, value]) => sum + elementCount(value.shape), 0);
    return { shape: [size], dtype: operands.q!.dtype };
  },
  flops({ operands, attributes }: Node) {
    const { q, k, dy } = operands as Record<string, Value>;
    const grids = attributes.grids as number[];
    let squares = 0;
    for (let i = 0; i < grids.length; i += 2) squares += (grids[i]! * grids[i + 1]!) ** 2;
    const pairs = k ? q!.shape[1]! * k.shape[1]! : squares || q!.shape[1]! ** 2;
    return 10 * dy!.shape[0]! * pairs * dy!.shape[2]!;
  },
};

/** Gradients of attention's q, k and v (or of the packed q alone), of their shapes. Attributes as those of attention. */
export function attentionGradient(graph: Graph, node: Node, dy: Value): Record<string, Value> {
  const flat = graph.add(attentionGradientOp, { ...node.operands, dy }, node.attributes);
  let start = 0;
  return Object.fromEntries(
    inputs(node.operands).map(([name, { shape }]) => {
      const part = graph.rows(flat, start, start + elementCount(shape));
      start += elementCount(shape);
      return [name, graph.reshape(part, shape)];
    }),
  );
}
