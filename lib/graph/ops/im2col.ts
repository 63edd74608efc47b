import { optionsOf } from '../../options.js';
import type { DType } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';
import { cast } from './cast.js';
import { col2im } from './col2im.js';

export const im2colOp: OpDefinition = {
  name: 'im2col',
  operands: ['x'],
  attributes: { kernel: 'number', stride: 'number', padding: 'number', channels_last: 'flag' },
  infer({ operands, attributes, fail }) {
    const { x } = operands as Record<string, Value>;
    const { kernel, stride, padding } = attributes as Record<string, number>;
    if (x!.shape.length !== 4) return fail('x of rank 4');
    const [batch, a, b, c] = x!.shape as [number, number, number, number];
    const [h, w, channels] = attributes.channels_last ? [a, b, c] : [b, c, a];
    const ho = Math.floor((h + 2 * padding! - kernel!) / stride!) + 1;
    const wo = Math.floor((w + 2 * padding! - kernel!) / stride!) + 1;
    if (![kernel, stride, padding].every(Number.isSafeInteger))
      return fail('a whole kernel, stride and padding');
    if (ho < 1 || wo < 1) return fail(`a picture of at least ${kernel} × ${kernel}`);
    return { shape: [batch, ho, wo, kernel! * kernel! * channels], dtype: x!.dtype };
  },
  flops: () => 0,
  gradient: ({ graph, node, dy }) => ({ x: col2im(graph, dy, node) }),
};

/** Options of `im2col`. */
export interface PatchOptions {
  /** Rows and columns of a patch. */
  kernel: number;
  /** From one patch to the next, in both directions. */
  stride: number;
  /** Zeros on all four sides. Default 0. */
  padding?: number;
  /** Input (B, h, w, C), patches ordered (row, column, channel); else (B, C, h, w), ordered (channel, row, column). Default true. */
  channelsLast?: boolean;
  /** Type of the patches; default: that of x. */
  dtype?: DType;
}

const checkOptions = optionsOf<PatchOptions>({
  kernel: true,
  stride: true,
  padding: true,
  channelsLast: true,
  dtype: true,
});

/** The patches that a convolution sees, one row each: → (B, ho, wo, kernel²·C), zero padding. */
export function im2col(graph: Graph, x: Value, options: PatchOptions): Value {
  checkOptions(options, 'im2col');
  const { kernel, stride, padding = 0, channelsLast = true, dtype = x?.dtype } = options;
  // Patches overlap or are copied as they are: converting before is never more work.
  return graph.add(
    im2colOp,
    { x: cast(graph, x, dtype) },
    { kernel, stride, padding, channels_last: channelsLast },
  );
}
