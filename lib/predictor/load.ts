import { HrsamError } from '../errors.js';
import type { Precision } from '../model/layers.js';
import type { Device } from '../runtime/device.js';
import { type Checkpoint, openWeights, randomWeights } from '../weights/checkpoint.js';
import type { ModelConfig } from '../weights/config.js';
import { expectedTensors } from '../weights/expected.js';
import { toInternalName } from '../weights/names.js';
import { randomPreset } from '../weights/random_name.js';
import { WeightStore } from '../weights/store.js';
import { Network } from './network.js';

export interface NetworkOptions {
  config?: unknown;
  onProgress?: (done: number, total: number) => void;
}

/** @throws HrsamError ERR_CONFIG for settings beside a preset, which has its own */
export function refuseConfig(config: unknown, preset: string): void {
  if (config !== undefined)
    throw new HrsamError('ERR_CONFIG', 'a preset has its own settings', { where: preset, actual: 'others' });
}

/** Opens weights by path, or `random:<preset>`. The caller closes the checkpoint. */
export function openModel(weights: string, config?: unknown): Promise<Checkpoint & { config: ModelConfig }> {
  const preset = randomPreset(weights);
  if (preset === undefined) return openWeights(weights, { config });
  refuseConfig(config, weights);
  return randomWeights(preset);
}

/**
 * Reads a model's weights onto a device.
 * @throws HrsamError ERR_DEVICE for fp8 on the CPU; a GPU that lacks it says so when the first encoder is compiled
 */
export async function loadNetwork(
  weights: string,
  device: Device,
  precision: Precision,
  { config, onProgress }: NetworkOptions = {},
): Promise<Network> {
  if (precision === 'fp8' && device.kind !== 'cuda')
    throw new HrsamError('ERR_DEVICE', 'fp8', {
      expected: 'a GPU of compute capability 9.0',
      actual: device.name,
    });
  const checkpoint = await openModel(weights, config);
  try {
    const wanted = new Set(expectedTensors(checkpoint.config).map(({ name }) => toInternalName(name)));
    const store = await WeightStore.open(device, checkpoint, { wanted, onProgress });
    return new Network(device, checkpoint.config, precision, store);
  } finally {
    await checkpoint.close();
  }
}
