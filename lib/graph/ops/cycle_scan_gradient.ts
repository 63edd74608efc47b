import { elementCount } from '../../runtime/dtype.js';
import { flatCount, splitFlat } from '../flat.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';

const ORDER = ['u', 'ssm', 'a_log', 'dt_bias', 'd', 'gamma'];

export const cycleScanGradientOp: OpDefinition = {
  name: 'cycle_scan_gradient',
  operands: ['u', 'ssm', 'a_log', 'dy', 'dt_bias?', 'd?', 'gamma?'],
  infer({ operands, fail }) {
    if (operands.dy!.shape.join() !== operands.u!.shape.join()) return fail('dy of the shape of u');
    return { shape: [flatCount(operands, ORDER)], dtype: 'f32' };
  },
  flops: ({ operands }) => 24 * elementCount(operands.u!.shape) * operands.a_log!.shape[1]!,
};

/** Gradients of all operands of the cycle scan, f32, of their shapes; the readings collapse as in the forward pass. */
export function cycleScanGradient(graph: Graph, node: Node, dy: Value): Record<string, Value> {
  const flat = graph.add(cycleScanGradientOp, { ...node.operands, dy }, node.attributes);
  return splitFlat(graph, flat, node.operands, ORDER);
}
