import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const scaleSamplesOp: OpDefinition = {
  name: 'scale_samples',
  operands: ['x', 'scale'],
  inPlace: 'x',
  infer({ operands, fail }) {
    const { x, scale } = operands as Record<string, Value>;
    if (x!.shape.length === 0 || scale!.shape.join() !== `${x!.shape[0]}`) return fail('x (B, …), scale (B)');
    return { shape: x!.shape, dtype: x!.dtype };
  },
  flops: ({ result }) => elementCount(result.shape),
  gradient: ({ graph, node: { operands }, dy }) => ({ x: scaleSamples(graph, dy, operands.scale!) }),
};

/** Each sample times a number of its own, x (B, …) by scale (B) f32 → (B, …). No gradient reaches the numbers. */
export function scaleSamples(graph: Graph, x: Value, scale: Value): Value {
  return graph.add(scaleSamplesOp, { x, scale });
}
