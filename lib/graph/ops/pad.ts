import type { Graph, OpDefinition, Value } from '../graph.js';
import { slice } from './slice.js';

export const padOp: OpDefinition = {
  name: 'pad',
  operands: ['x'],
  attributes: { axis: 'number', start: 'number', size: 'number' },
  infer({ operands, attributes, fail }) {
    const { x } = operands as Record<string, Value>;
    const { axis, start, size } = attributes as Record<string, number>;
    if (
      !Number.isInteger(start) ||
      !(start! >= 0 && start! + (x!.shape[axis!] ?? Number.POSITIVE_INFINITY) <= size!)
    )
      return fail(`x that fits into ${size} from ${start} along axis ${axis}`);
    return { shape: x!.shape.map((length, i) => (i === axis ? size! : length)), dtype: x!.dtype };
  },
  flops: () => 0,
  gradient({ graph, node, dy, wants }) {
    const { axis, start } = node.attributes as Record<string, number>;
    const end = start! + node.operands.x!.shape[axis!]!;
    return { x: wants('x') ? slice(graph, dy, axis!, start!, end) : undefined };
  },
};

/** x from `start` on along an axis of `size`, zeros around it. */
export function pad(graph: Graph, x: Value, axis: number, start: number, size: number): Value {
  return graph.add(padOp, { x }, { axis, start, size });
}
