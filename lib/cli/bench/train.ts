import { Device } from '../../runtime/device.js';
import { Owned } from '../../runtime/owned.js';
import type { ClickShape } from '../../train/losses.js';
import { syntheticStep } from '../../train/synthetic_step.js';
import { configFromAuthors } from '../../weights/authors.js';
import type { ModelConfig } from '../../weights/config.js';
import { presetConfig } from '../../weights/presets.js';
import { type BenchRow, measure, peakMemory } from './measure.js';

export interface TrainPart {
  model: 'small' | 'hrsam-b';
  device: string;
  dtype: 'f32' | 'bf16';
  threads?: number;
}

const small = (): ModelConfig =>
  configFromAuthors({
    backbone: {
      window_size: 16,
      state_dim: 16,
      depth: 8,
      embed_dim: 192,
      num_heads: 3,
      final_embed_dim: 128,
      out_indices: [1, 3, 5, 7],
    },
    neck: { embed_dim: 128 },
    decode_head: {
      in_dim: 128,
      attn_cfg: { depth: 2, mlp_dim: 512, num_heads: 4 },
      iou_head_hidden_dim: 128,
    },
  });

const STEP = { tokens: 8, objects: 1, steps: 3, focal: { alpha: 0.5, gamma: 2 } };

const MODELS: Record<TrainPart['model'], () => { config: ModelConfig; shape: ClickShape }> = {
  small: () => ({ config: small(), shape: { ...STEP, batch: 8, height: 256, width: 256 } }),
  'hrsam-b': () => ({
    config: presetConfig('hrsam-b'),
    shape: { ...STEP, batch: 1, height: 512, width: 512 },
  }),
};

/** One training step: forward and backward of three prompts a sample, and the update. */
export async function trainRows(part: TrainPart): Promise<BenchRow[]> {
  const { dtype, threads } = part;
  const device = Device.open(part.device);
  if (threads !== undefined) await device.setThreads(threads);
  const { config, shape } = MODELS[part.model]();
  using owned = new Owned();
  const step = await syntheticStep(device, config, shape, dtype, owned);
  const row = await measure({
    what: `${part.model} training step`,
    device,
    dtype,
    size: `${shape.height} x ${shape.width}`,
    batch: shape.batch,
    flops: 3 * step.forwardFlops,
    run: () => step.run(),
  });
  const note = `${(row.median / shape.batch).toFixed(1)} ms a sample of ${STEP.steps} prompts`;
  return [{ ...row, memory: peakMemory(device), note }];
}
