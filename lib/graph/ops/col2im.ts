import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';

export const col2imOp: OpDefinition = {
  name: 'col2im',
  operands: ['dy'],
  attributes: { kernel: 'number', stride: 'number', padding: 'number', channels_last: 'flag', size: 'list' },
  infer({ operands, attributes, fail }) {
    const { dy } = operands as Record<string, Value>;
    const { kernel } = attributes as Record<string, number>;
    const [h, w] = attributes.size as number[];
    const [batch, , , patch] = dy!.shape as [number, number, number, number];
    if (dy!.shape.length !== 4 || patch % kernel! ** 2 !== 0) return fail(`dy (B, ho, wo, ${kernel}²·C)`);
    const channels = patch / kernel! ** 2;
    return {
      shape: attributes.channels_last ? [batch, h!, w!, channels] : [batch, channels, h!, w!],
      dtype: dy!.dtype,
    };
  },
  flops: ({ operands }) => elementCount(operands.dy!.shape),
};

/** The adjoint of im2col: patches are added up where they came from, in a picture of `size`. */
export function col2im(graph: Graph, dy: Value, im2col: Node): Value {
  const [, a, b, c] = im2col.operands.x!.shape as [number, number, number, number];
  const size = im2col.attributes.channels_last ? [a, b] : [b, c];
  return graph.add(col2imOp, { dy }, { ...im2col.attributes, size });
}
