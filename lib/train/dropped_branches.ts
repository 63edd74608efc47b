import { BRANCH_SCALES, dropRates } from '../model/drop_path.js';
import { Rng } from '../rng.js';
import type { Owned } from '../runtime/owned.js';
import type { Tensors } from '../runtime/program.js';
import type { ModelConfig } from '../weights/config.js';
import type { Replica } from './replica.js';

export interface DropPathOptions {
  /** How likely a branch of the last block is left out. */
  dropPath: number;
  seed: number;
  /** Samples of a micro-batch. */
  batch: number;
}

/**
 * What each branch of each sample counts, (branches, batch) by rows: 0 where it is left out, else as much more as makes
 * up for that in the mean. Micro-batch `index` follows from the seed.
 */
export function drawnScales(
  config: Pick<ModelConfig, 'encoder'>,
  { dropPath, seed, batch }: DropPathOptions,
  index: number,
): Float32Array {
  const draws = new Rng(seed, index, 2);
  const rates = dropRates(config, dropPath);
  return Float32Array.from({ length: rates.length * batch }, (_, i) => {
    const rate = rates[Math.floor(i / batch)]!;
    return draws.chance(rate) ? 0 : 1 / (1 - rate);
  });
}

/** The input that a gradient program with drop path has besides; none without. */
export function droppedBranches(
  { device }: Pick<Replica, 'device'>,
  config: ModelConfig,
  options: DropPathOptions,
  index: number,
  owned: Owned,
): Tensors {
  if (options.dropPath === 0) return {};
  const scales = drawnScales(config, options, index);
  const shape = [scales.length / options.batch, options.batch];
  return { [BRANCH_SCALES]: owned.add(device.tensor(shape, 'f32', scales)) };
}
