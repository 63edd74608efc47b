import { elementCount } from '../../runtime/dtype.js';
import type { Graph, OpDefinition, Value } from '../graph.js';

/** What the rows of `state` are. */
export const STATE_ROWS = ['parameters', 'firstMoments', 'secondMoments', 'average'] as const;

export const adamwOp: OpDefinition = {
  name: 'adamw',
  operands: ['state', 'gradient', 'step'],
  attributes: {
    betas: 'list',
    eps: 'number',
    clip: 'number',
    lengths: 'list',
    rates: 'list',
    decays: 'list',
  },
  inPlace: 'state',
  infer({ operands, attributes, fail }) {
    const { state, gradient, step } = operands as Record<string, Value>;
    const [size] = gradient!.shape;
    const expected = `${STATE_ROWS.length},${size}`;
    if (gradient!.shape.length !== 1 || state!.shape.join() !== expected || step!.shape.join() !== '5')
      return fail('state (4, P), gradient (P), step (5)');
    const lengths = attributes.lengths as number[];
    const groups = [attributes.rates, attributes.decays].every(
      (list) => (list as number[]).length === lengths.length,
    );
    if (!groups || lengths.reduce((sum, length) => sum + length, 0) !== size)
      return fail(`groups of ${size} parameters`);
    return { shape: state!.shape, dtype: 'f32' };
  },
  flops: ({ operands }) => 16 * elementCount(operands.gradient!.shape),
};

/** A run of parameters with one learning-rate scale and one weight decay. */
export interface ParameterGroup {
  length: number;
  /** Factor on the learning rate. */
  rate: number;
  decay: number;
}

export interface AdamWOptions {
  betas: readonly [number, number];
  eps: number;
  /** The gradient is scaled down to this L2 norm where it is larger; 0: never. */
  clip: number;
}

/**
 * One step of AdamW (arXiv 1711.05101, as PyTorch computes it) over all parameters laid end to end.
 * @param state (4, P) f32: parameters, first moments, second moments, moving average of the parameters.
 * @param gradient (P) f32, the sum over `count` micro-batches.
 * @param step (5) f32: learning rate, 1 − β₁ᵗ, 1 − β₂ᵗ, count, share of the old value in the moving average.
 */
export function adamw(
  graph: Graph,
  state: Value,
  gradient: Value,
  step: Value,
  groups: readonly ParameterGroup[],
  { betas, eps, clip }: AdamWOptions,
): Value {
  const attributes = {
    betas,
    eps,
    clip,
    lengths: groups.map(({ length }) => length),
    rates: groups.map(({ rate }) => rate),
    decays: groups.map(({ decay }) => decay),
  };
  return graph.add(adamwOp, { state, gradient, step }, attributes);
}
