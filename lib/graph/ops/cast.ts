import type { DType } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const castOp: OpDefinition = {
  name: 'cast',
  operands: ['x'],
  infer: ({ operands, dtype }) => ({ shape: operands.x!.shape, dtype: dtype ?? operands.x!.dtype }),
  flops: () => 0,
  gradient: ({ dy }) => ({ x: dy }),
};

/** The same numbers in another type; bf16 is rounded to nearest even. */
export function cast(graph: Graph, x: Value, dtype: DType): Value {
  graph.checkOwn(x, 'cast');
  return x.dtype === dtype ? x : graph.add(castOp, { x }, {}, dtype);
}

/** A copy, for a value that needs memory of its own. */
export function copy(graph: Graph, x: Value): Value {
  return graph.add(castOp, { x });
}
