import type { Graph, OpDefinition, Value } from '../graph.js';
import { permute } from './permute.js';

export const depthToSpaceOp: OpDefinition = {
  name: 'depth_to_space',
  operands: ['x'],
  attributes: { block: 'number' },
  infer({ operands, attributes, fail }) {
    const { x } = operands as Record<string, Value>;
    const block = attributes.block as number;
    const [batch, h, w, channels] = x!.shape as [number, number, number, number];
    const whole = Number.isInteger(block) && block > 0;
    if (!whole || x!.shape.length !== 4 || channels % (block * block) !== 0)
      return fail(`x (B, h, w, ${block * block}·C)`);
    return { shape: [batch, h * block, w * block, channels / (block * block)], dtype: x!.dtype };
  },
  flops: () => 0,
  gradient({ graph, node, dy }) {
    const [batch, h, w, channels] = node.operands.x!.shape as [number, number, number, number];
    const block = node.attributes.block as number;
    const split = graph.reshape(dy, [batch, h, block, w, block, channels / (block * block)]);
    return { x: graph.reshape(permute(graph, split, [0, 1, 3, 2, 4, 5]), node.operands.x!.shape) };
  },
};

/** x (B, h, w, k²·C), the last axis ordered (row, column, channel) → (B, k·h, k·w, C). */
export function depthToSpace(graph: Graph, x: Value, block: number): Value {
  return graph.add(depthToSpaceOp, { x }, { block });
}
