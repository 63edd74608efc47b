import type { Graph, OpDefinition, Value } from '../graph.js';
import { pad } from './pad.js';

export const sliceOp: OpDefinition = {
  name: 'slice',
  operands: ['x'],
  attributes: { axis: 'number', start: 'number', end: 'number' },
  infer({ operands, attributes, fail }) {
    const { x } = operands as Record<string, Value>;
    const { axis, start, end } = attributes as Record<string, number>;
    if (
      ![start, end].every(Number.isInteger) ||
      !(start! >= 0 && start! < end! && end! <= (x!.shape[axis!] ?? 0))
    )
      return fail(`x with rows ${start} … ${end} along axis ${axis}`);
    return { shape: x!.shape.map((size, i) => (i === axis ? end! - start! : size)), dtype: x!.dtype };
  },
  flops: () => 0,
  gradient({ graph, node, dy }) {
    const { axis, start } = node.attributes as Record<string, number>;
    return { x: pad(graph, dy, axis!, start!, node.operands.x!.shape[axis!]!) };
  },
};

/** x[start … end] along an axis; a view without a copy where the part is contiguous. */
export function slice(graph: Graph, x: Value, axis: number, start: number, end: number): Value {
  graph.checkOwn(x, 'slice');
  if (start === 0 && end === x.shape[axis]) return x;
  const leading = x.shape.slice(0, axis);
  if (x.shape[axis] !== undefined && leading.every((size) => size === 1)) {
    const rest = x.shape.slice(axis);
    return graph.reshape(graph.rows(graph.reshape(x, rest), start, end), [
      ...leading,
      end - start,
      ...rest.slice(1),
    ]);
  }
  return graph.add(sliceOp, { x }, { axis, start, end });
}
