import type { ComputeType } from '../model/layers.js';
import type { Device } from '../runtime/device.js';
import { type Checkpoint, openWeights, randomWeights } from '../weights/checkpoint.js';
import type { ModelConfig } from '../weights/config.js';
import { expectedTensors } from '../weights/expected.js';
import { toInternalName } from '../weights/names.js';
import { WeightStore } from '../weights/store.js';
import { Network } from './network.js';

export interface NetworkOptions {
  config?: unknown;
  onProgress?: (done: number, total: number) => void;
}

const RANDOM = 'random:';

/** Opens weights by path, or `random:<preset>`. The caller closes the checkpoint. */
export function openModel(weights: string, config?: unknown): Promise<Checkpoint & { config: ModelConfig }> {
  return weights.startsWith(RANDOM)
    ? randomWeights(weights.slice(RANDOM.length))
    : openWeights(weights, { config });
}

/** Reads a model's weights onto a device. */
export async function loadNetwork(
  weights: string,
  device: Device,
  compute: ComputeType,
  { config, onProgress }: NetworkOptions = {},
): Promise<Network> {
  const checkpoint = await openModel(weights, config);
  try {
    const wanted = new Set(expectedTensors(checkpoint.config).map(({ name }) => toInternalName(name)));
    const store = await WeightStore.open(device, checkpoint, { wanted, onProgress });
    return new Network(device, checkpoint.config, compute, store);
  } finally {
    await checkpoint.close();
  }
}
