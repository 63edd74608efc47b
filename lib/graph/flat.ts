import { elementCount } from '../runtime/dtype.js';
import type { Graph, Operands, Value } from './graph.js';

/** Elements of the operands of these names together. */
export const flatCount = (operands: Operands, names: readonly string[]): number =>
  names.reduce((sum, name) => sum + elementCount(operands[name]?.shape ?? [0]), 0);

/** The gradients of those operands, one after the other in a row → each by name, of its operand's shape. */
export function splitFlat(
  graph: Graph,
  flat: Value,
  operands: Operands,
  names: readonly string[],
): Record<string, Value> {
  const parts: Record<string, Value> = {};
  let start = 0;
  for (const name of names) {
    const shape = operands[name]?.shape;
    if (!shape) continue;
    const end = start + elementCount(shape);
    parts[name] = graph.reshape(graph.rows(flat, start, end), shape);
    start = end;
  }
  return parts;
}
