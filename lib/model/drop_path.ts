import type { Graph, Value } from '../graph/graph.js';
import type { ModelConfig } from '../weights/config.js';

type EncoderConfig = Pick<ModelConfig, 'encoder'>;

/**
 * Stochastic depth (Huang et al., arXiv 1603.09382): how likely each residual branch of an encoder is left out for a
 * sample, in order of execution. It grows linearly from nothing at the first block to `rate` at the last; a cycle scan has
 * the rate of the block that it stands before or after.
 */
export function dropRates({ encoder }: EncoderConfig, rate: number): number[] {
  const stageEnds = 'stageEnds' in encoder ? encoder.stageEnds : [];
  const multiScale = 'downsampleSizes' in encoder && encoder.downsampleSizes.length > 0;
  const scans = 'cycles' in encoder && encoder.cycles > 0 ? (multiScale ? 2 : 1) : 0;
  const rates: number[] = [];
  for (let i = 0; i < encoder.depth; i++) {
    const own = (rate * i) / Math.max(1, encoder.depth - 1);
    // Attention and MLP, and before the end of a stage the scan; after it HRSAM++ has another.
    const branches = 2 + (stageEnds.includes(i) ? scans : 0);
    rates.push(...Array.from({ length: branches }, () => own));
  }
  return rates;
}

/** Name of the input (branches, B) that says what each sample's branch counts, where a graph has drop path. */
export const BRANCH_SCALES = 'branch_scales';

/** What the next branch counts, (B): branches ask in order of execution. Undefined in a graph without drop path. */
export type BranchScales = () => Value | undefined;

export function branchScales(graph: Graph, config: EncoderConfig, batch: number): BranchScales {
  if (!graph.dropPath) return () => undefined;
  const count = dropRates(config, 0).length;
  const scales = graph.input(BRANCH_SCALES, [count, batch]);
  let next = 0;
  return () => {
    const row = graph.rows(scales, next, next + 1);
    next++;
    return graph.reshape(row, [batch]);
  };
}
