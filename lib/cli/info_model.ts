import { refuseConfig } from '../predictor/load.js';
import { elementCount } from '../runtime/dtype.js';
import { openWeights } from '../weights/checkpoint.js';
import type { ModelConfig } from '../weights/config.js';
import { expectedTensors, MODEL_PARTS, type ModelPart } from '../weights/expected.js';
import { isTrained } from '../weights/names.js';
import { isPreset, presetConfig } from '../weights/presets.js';

export interface ModelInfo {
  name: string;
  /** `hrsam`, `hrsam++` or `sam`. */
  variant: string;
  parameters: Record<ModelPart, number>;
  config: ModelConfig;
  /** Of files. */
  stored?: { format: string; dtypes: string[]; bytes: number; tensors: number };
  metadata?: Record<string, string>;
  /** Tensors of the file that the model does not know. */
  unexpected?: readonly string[];
}

const variantOf = (config: ModelConfig): string => (config.family === 'sam' ? 'sam' : config.variant);

const countParameters = (config: ModelConfig, part: ModelPart): number =>
  expectedTensors(config, [part])
    .filter(isTrained)
    .reduce((sum, { shape }) => sum + elementCount(shape), 0);

/** What a preset or a weights file is; of a file, only header or pickle are read. @throws as `openWeights` */
export async function describe(name: string, config?: unknown): Promise<ModelInfo> {
  const parametersOf = (found: ModelConfig) =>
    Object.fromEntries(
      MODEL_PARTS.map((part) => [part, countParameters(found, part)]),
    ) as ModelInfo['parameters'];
  if (isPreset(name)) {
    refuseConfig(config, name);
    const preset = presetConfig(name);
    return { name, variant: variantOf(preset), parameters: parametersOf(preset), config: preset };
  }
  await using checkpoint = await openWeights(name, { config });
  const tensors = [...checkpoint.tensors.values()];
  return {
    name,
    variant: variantOf(checkpoint.config),
    parameters: parametersOf(checkpoint.config),
    config: checkpoint.config,
    stored: {
      format: checkpoint.format,
      dtypes: [...new Set(tensors.map(({ dtype }) => dtype))],
      bytes: tensors.reduce((sum, { byteLength }) => sum + byteLength, 0),
      tensors: tensors.length,
    },
    metadata: Object.fromEntries(checkpoint.metadata),
    unexpected: checkpoint.unexpected,
  };
}
