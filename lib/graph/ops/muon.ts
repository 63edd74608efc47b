import { elementCount } from '../../runtime/dtype.js';
import type { Graph, Node, OpDefinition, Value } from '../graph.js';
import { STATE_ROWS } from './adamw.js';

export const muonOp: OpDefinition = {
  name: 'muon',
  operands: ['state', 'step'],
  attributes: { offsets: 'list', rows: 'list', columns: 'list', rates: 'list', decays: 'list', half: 'flag' },
  inPlace: 'state',
  infer({ operands, attributes, fail }) {
    const { state, step } = operands as Record<string, Value>;
    if (state!.shape.length !== 2 || state!.shape[0] !== STATE_ROWS.length || step!.shape.join() !== '5')
      return fail('state (4, P), step (5)');
    let end = 0;
    for (const { offset, rows, columns } of matrices(attributes)) {
      if (!(offset >= end) || offset + rows * columns > state!.shape[1]!)
        return fail(`matrices one after the other among ${state!.shape[1]} parameters`);
      end = offset + rows * columns;
    }
    return { shape: state!.shape, dtype: 'f32' };
  },
  flops({ operands, attributes }) {
    let sum = elementCount(operands.state!.shape);
    for (const { rows, columns } of matrices(attributes)) {
      const [m, n] = [Math.min(rows, columns), Math.max(rows, columns)];
      sum += 5 * 2 * m * m * (2 * n + m);
    }
    return sum;
  },
};

/** A matrix among the parameters that are laid end to end. */
export interface MuonMatrix {
  offset: number;
  rows: number;
  columns: number;
  /** Factor on the learning rate. */
  rate: number;
  decay: number;
}

function* matrices(attributes: Node['attributes']) {
  const { offsets, rows, columns } = attributes as Record<string, number[]>;
  for (const [i, offset] of offsets!.entries()) yield { offset, rows: rows![i]!, columns: columns![i]! };
}

/**
 * One step of Muon (https://kellerjordan.github.io/posts/muon) for some matrices: they go against their first moments,
 * made orthogonal by five steps of Newton and Schulz and scaled to 0.2·√max(rows, columns), so that AdamW's learning rate
 * fits (arXiv 2502.16982). `adamw` brings the moments up to date before, with a rate and decay of 0 for these parameters.
 * @param state (4, P) f32 and
 * @param step (5) f32: as those of `adamw`.
 * @param matrices In the order of their places; parameters outside of them stay as they are.
 * @param compute Type of the matrices between products, whose sums are f32: bf16 as published, for those whose sides are
 * multiples of 32.
 */
export function muon(
  graph: Graph,
  state: Value,
  step: Value,
  matrices: readonly MuonMatrix[],
  compute: 'f32' | 'bf16' = 'f32',
): Value {
  const attributes = {
    offsets: matrices.map(({ offset }) => offset),
    rows: matrices.map(({ rows }) => rows),
    columns: matrices.map(({ columns }) => columns),
    rates: matrices.map(({ rate }) => rate),
    decays: matrices.map(({ decay }) => decay),
    half: compute === 'bf16',
  };
  return graph.add(muonOp, { state, step }, attributes);
}
