import { HrsamError } from '../errors.js';
import { elementCount } from '../runtime/dtype.js';
import type { Checkpoint, TensorEntry } from '../weights/checkpoint.js';
import { ROPE_THETA } from '../weights/config.js';
import { TABLE } from '../weights/names.js';
import { type FillRule, fanIn, fillTensor } from '../weights/random.js';
import type { Values } from './parameters.js';

/** Uniform with this standard deviation. */
const spread = (deviation: number): FillRule => ({ offset: 0, scale: Math.sqrt(3) * deviation });

const constant = (offset: number): FillRule => ({ offset, scale: 0 });

type Rule = (shape: readonly number[]) => FillRule;

/** A tensor's part in the model decides what training from nothing begins with; the first rule that knows the name applies. */
const RULES: readonly [RegExp, Rule][] = [
  // No parameter: the authors' code reads it from the file.
  [
    /\.rope\.freqs$/,
    ([n]) => ({
      offset: 0,
      scale: 0,
      offsetTable: Array.from({ length: n! }, (_, i) => ROPE_THETA ** (-i / n!)),
    }),
  ],
  [
    /\.As_log$/,
    ([, n]) => ({
      offset: 0,
      scale: 0,
      offsetTable: Array.from({ length: n! }, (_, i) => Math.log(i + 1)),
    }),
  ],
  // Steps of the scan from about 0.001 to 0.1 (Mamba, arXiv 2312.00752): the inverse of softplus is nearly their logarithm.
  [/\.ssm_proj_bias$/, () => ({ offset: -4.6, scale: 2.3 })],
  [/\.Ds$/, () => constant(1)],
  [/\.gamma$/, ([, readings]) => constant(1 / readings!)],
  [/\.pos_embed$|\.attn\.padding$|\.rel_pos_[hw]$/, () => spread(0.02)],
  [/_gaussian_matrix$/, () => spread(1)],
  [TABLE, () => spread(1)],
  [/\.bias$/, () => constant(0)],
  // What is added to the residual stream begins small.
  [/\.(attn\.proj|mlp\.fc2|out_proj)\.weight$/, () => spread(0.01)],
  [
    /(backbone|image_encoder)\.(blocks|\w*mamba_blocks)\..*\.weight$/,
    (shape) => (shape.length > 1 ? spread(0.02) : constant(1)),
  ],
  // transposed convolutions have their input channels first
  [/\.output_upscaling\.\d+\.weight$/, ([inputs]) => spread(Math.sqrt(1 / inputs!))],
  [/\.weight$/, (shape) => (shape.length > 1 ? spread(Math.sqrt(1 / fanIn(shape))) : constant(1))],
];

/** Values that training from nothing begins with. */
export const initialValues =
  (seed: number): Values =>
  (name, shape) => {
    const rule = RULES.find(([pattern]) => pattern.test(name))?.[1] ?? (() => constant(0));
    return fillTensor(`${name}#train${seed}`, rule(shape), new Float32Array(elementCount(shape)));
  };

export interface Adopted {
  values: Values;
  /** Tensors that begin anew: the checkpoint has none of that name and shape. */
  fresh: string[];
  /** Laterals of more scales than the checkpoint's, which take its columns for each scale, divided by their number. */
  widened: string[];
}

/**
 * A checkpoint's values where they fit, else `otherwise`. A model grown by scales (HRSAM → HRSAM++) keeps what it
 * learned: each scale's part of a lateral begins as the single one's share.
 * @throws HrsamError ERR_WEIGHTS when nothing fits
 */
export async function adoptValues(
  checkpoint: Checkpoint,
  tensors: readonly { name: string; shape: readonly number[] }[],
  otherwise: Values,
): Promise<Adopted> {
  const found = new Map<string, Float32Array>();
  const fresh: string[] = [];
  const widened: string[] = [];
  for (const { name, shape } of tensors) {
    const entry = checkpoint.tensors.get(sourceName(checkpoint, name));
    if (entry && entry.shape.join() === shape.join()) {
      found.set(name, await entry.read());
    } else if (entry && isWidened(entry, name, shape)) {
      found.set(name, repeatColumns(await entry.read(), entry.shape[1]!, shape));
      widened.push(name);
    } else fresh.push(name);
  }
  if (found.size === 0) {
    throw new HrsamError('ERR_WEIGHTS', "no tensor fits the model's", { where: checkpoint.name });
  }
  return { values: (name, shape) => found.get(name) ?? otherwise(name, shape), fresh, widened };
}

/** HRSAM's scans within a scale are called `mamba_blocks`, those of HRSAM++ `ss_mamba_blocks`. */
function sourceName({ tensors }: Checkpoint, name: string): string {
  const single = name.replace('.ss_mamba_blocks.', '.mamba_blocks.');
  return tensors.has(name) ? name : single;
}

const isWidened = ({ shape: from }: TensorEntry, name: string, to: readonly number[]): boolean =>
  /\.lateral_convs\.\d+\.0\.weight$/.test(name) &&
  from.length === 2 &&
  to[0] === from[0] &&
  to[1]! % from[1]! === 0;

function repeatColumns(values: Float32Array, columns: number, [rows, wide]: readonly number[]): Float32Array {
  const out = new Float32Array(rows! * wide!);
  for (let i = 0; i < out.length; i++) {
    const [row, column] = [Math.floor(i / wide!), i % wide!];
    out[i] = (values[row * columns + (column % columns)]! * columns) / wide!;
  }
  return out;
}
