import type { Graph, OpDefinition, Value } from '../graph.js';
import { relPosGradient } from './rel_pos_gradient.js';

export const relPosOp: OpDefinition = {
  name: 'rel_pos',
  operands: ['table'],
  attributes: { q_size: 'number', k_size: 'number' },
  infer({ operands, attributes, fail }) {
    if (operands.table!.shape.length !== 2) return fail('table (L, d)');
    return {
      shape: [attributes.q_size as number, attributes.k_size as number, operands.table!.shape[1]!],
      dtype: 'f32',
    };
  },
  flops: () => 0,
  gradient: ({ graph, node, dy }) => ({ table: relPosGradient(graph, dy, node.operands.table!.shape[0]!) }),
};

/** SAM's relative position table (L, d), resized if need be, looked up for every pair: → (queries, keys, d). */
export function relPos(graph: Graph, table: Value, querySize: number, keySize: number): Value {
  return graph.add(relPosOp, { table }, { q_size: querySize, k_size: keySize });
}
