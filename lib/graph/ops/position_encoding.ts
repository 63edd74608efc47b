import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

export const positionEncodingOp: OpDefinition = {
  name: 'position_encoding',
  operands: ['gaussian'],
  attributes: { size: 'list' },
  infer({ operands, attributes, fail }) {
    const [two, half] = operands.gaussian!.shape;
    if (operands.gaussian!.shape.length !== 2 || two !== 2) return fail('gaussian (2, E/2)');
    const [h, w] = attributes.size as number[];
    return { shape: [1, h!, w!, 2 * half!], dtype: 'f32' };
  },
  flops: ({ result }) => 20 * elementCount(result.shape),
};

/** SAM's random Fourier code of every cell of a grid: gaussian (2, E/2) → (1, h, w, E), sines then cosines. */
export function positionEncoding(graph: Graph, gaussian: Value, size: readonly [number, number]): Value {
  return graph.add(positionEncodingOp, { gaussian }, { size });
}
