import { HrsamError } from '../../errors.js';
import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { slice } from './slice.js';

export const concatOp: OpDefinition = {
  name: 'concat',
  operands: ['x...'],
  attributes: { axis: 'number' },
  infer({ operands, attributes, fail }) {
    const parts = Object.values(operands);
    const axis = attributes.axis as number;
    const [first] = parts;
    if (!first || first.shape[axis] === undefined) return fail(`parts with an axis ${axis}`);
    const rest = (value: Value) => value.shape.map((size, i) => (i === axis ? '*' : size)).join();
    if (parts.some((part) => part.dtype !== first.dtype || rest(part) !== rest(first))) {
      return fail(`parts that differ only along axis ${axis}`);
    }
    const total = parts.reduce((sum, part) => sum + part.shape[axis]!, 0);
    return { shape: first.shape.map((size, i) => (i === axis ? total : size)), dtype: first.dtype };
  },
  flops: () => 0,
  parts({ operands, attributes, result }) {
    if (elementCount(result.shape.slice(0, attributes.axis as number)) !== 1) return [];
    let offset = 0;
    return Object.values(operands).map((operand) => {
      const part = { operand, offset };
      offset += elementCount(operand.shape);
      return part;
    });
  },
  gradient({ graph, node, dy, wants }) {
    const axis = node.attributes.axis as number;
    let start = 0;
    return Object.fromEntries(
      Object.entries(node.operands).map(([name, { shape }]) => {
        const begin = start;
        start += shape[axis]!;
        return [name, wants(name) ? slice(graph, dy, axis, begin, start) : undefined];
      }),
    );
  },
};

/** Joins values along an axis. */
export function concat(graph: Graph, parts: readonly Value[], axis: number): Value {
  if (!Array.isArray(parts) || parts.length === 0)
    throw new HrsamError('ERR_ARGUMENT', 'parts of concat', {
      where: graph.layer,
      expected: 'a list of values',
      actual: parts,
    });
  for (const part of parts) graph.checkOwn(part, 'concat');
  if (parts.length === 1) return parts[0]!;
  return graph.add(concatOp, Object.fromEntries(parts.map((part, i) => [`x${i}`, part])), { axis });
}
