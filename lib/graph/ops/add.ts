import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { permute } from './permute.js';
import { sumToShape } from './sum_rows.js';

export const addOp: OpDefinition = {
  name: 'add',
  operands: ['a', 'b'],
  inPlace: 'a',
  infer({ operands, dtype, fail }) {
    const { a, b } = operands as Record<string, Value>;
    const offset = a!.shape.length - b!.shape.length;
    if (offset < 0 || b!.shape.some((size, i) => size !== 1 && size !== a!.shape[i + offset]))
      return fail('b that broadcasts to a');
    return { shape: a!.shape, dtype: dtype ?? a!.dtype };
  },
  flops: ({ result }) => elementCount(result.shape),
  gradient({ graph, node: { operands }, dy, wants }) {
    const { b } = operands as Record<string, Value>;
    return { a: dy, b: wants('b') ? sumOverRepeated(graph, dy, b!.shape) : undefined };
  },
};

/** dy summed over the axes that `shape` lacks or has one element along. */
function sumOverRepeated(graph: Graph, dy: Value, shape: readonly number[]): Value {
  const missing = dy.shape.length - shape.length;
  const kept = (axis: number) => axis >= missing && (shape[axis - missing] !== 1 || dy.shape[axis] === 1);
  const axes = dy.shape.map((_, axis) => axis);
  const order = [...axes.filter((axis) => !kept(axis)), ...axes.filter(kept)];
  const sorted = order.every((axis, i) => axis === i) ? dy : permute(graph, dy, order);
  return sumToShape(graph, sorted, shape);
}

/** a + b, b broadcast to a's shape. */
export function add(graph: Graph, a: Value, b: Value): Value {
  return graph.add(addOp, { a, b });
}
