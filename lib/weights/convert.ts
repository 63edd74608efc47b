import { HrsamError } from '../errors.js';
import { checkCallback, optionsOf } from '../options.js';
import { type ModelCheckpoint, openWeights, type TensorEntry } from './checkpoint.js';
import {
  configToMetadata,
  differingSettings,
  type ImageConfig,
  type ModelConfig,
  settingsOf,
} from './config.js';
import { fromFloat32 } from './dtypes.js';
import { expectedTensors } from './expected.js';
import { isReducible, toInternalName } from './names.js';
import { writeSafetensors } from './safetensors_writer.js';

/** What `convert` writes. */
export interface ConvertOptions {
  /** Settings in the authors' keywords, where the input does not tell them. */
  config?: unknown;
  /** Order of the channels that the weights were trained on; stored with them. */
  channelOrder?: ImageConfig['channelOrder'];
  /**
   * Type of the weights of linear layers and convolutions; by default as they are stored. Everything else (norms, biases, scan
   * parameters, embeddings) is small and stays as precise as it is.
   */
  dtype?: 'f32' | 'bf16' | 'f16';
  /** Other weights with the same settings: the mean of both is written (model soups, arXiv 2203.05482). */
  average?: string;
  /** Called after each tensor, with bytes. */
  onProgress?: (progress: { name: string; bytes: number; totalBytes: number }) => void;
}

/** What `convert` wrote. */
export interface Converted {
  /** Settings, stored in the file. */
  readonly config: ModelConfig;
  /** How many were written. */
  readonly tensors: number;
  /** Names in the input that the model does not know: not copied. */
  readonly dropped: readonly string[];
}

const checkOptions = optionsOf<ConvertOptions>({
  config: true,
  channelOrder: true,
  dtype: true,
  average: true,
  onProgress: true,
});

const FILE_TYPE = { f32: 'F32', bf16: 'BF16', f16: 'F16' } as const;

const targetType = (entry: TensorEntry, dtype: ConvertOptions['dtype']): 'F32' | 'BF16' | 'F16' => {
  if (dtype && isReducible(entry)) return FILE_TYPE[dtype];
  // f32 asks for f32 throughout; no model computes in f64
  return dtype === 'f32' || entry.dtype === 'F64' ? 'F32' : (entry.dtype as 'F32' | 'BF16' | 'F16');
};

/** @throws HrsamError ERR_WEIGHTS unless both have the same settings, and so tensors of the same shapes */
function checkSameModel(one: ModelCheckpoint, other: ModelCheckpoint): void {
  const differing = differingSettings(one.config, other.config);
  if (differing.length === 0) return;
  const values = ({ config }: ModelCheckpoint) => {
    const settings = settingsOf(config);
    return differing.map((key) => `${key} ${settings.get(key) ?? 'not set'}`);
  };
  throw new HrsamError('ERR_WEIGHTS', 'no mean of models with different settings', {
    where: other.name,
    expected: values(one),
    actual: values(other),
  });
}

/**
 * Writes a model's weights as a safetensors file with official names, configuration and channel order inside, so that it
 * loads without any options. One tensor is in memory at a time.
 * @param input path of a safetensors file or PyTorch checkpoint
 * @throws HrsamError ERR_FILE, ERR_WEIGHTS, ERR_CONFIG for the input and its settings; ERR_ARGUMENT for the options
 */
export const convert = async (
  input: string,
  output: string,
  options: ConvertOptions = {},
): Promise<Converted> => {
  checkOptions(options, 'convert');
  const { config, channelOrder, dtype, average, onProgress } = options;
  const oneOf = (name: string, value: unknown, known: readonly string[]) => {
    if (value !== undefined && !known.includes(value as string))
      throw new HrsamError('ERR_ARGUMENT', name, { expected: known.join(', '), actual: value });
  };
  checkCallback(onProgress, 'onProgress');
  oneOf('channelOrder', channelOrder, ['rgb', 'bgr']);
  oneOf('dtype', dtype, Object.keys(FILE_TYPE));
  for (const [name, path] of Object.entries({ input, output, ...(average !== undefined && { average }) }))
    if (typeof path !== 'string')
      throw new HrsamError('ERR_ARGUMENT', name, { expected: 'a path', actual: path });
  const checkpoint = await openWeights(input, { config });
  let other: ModelCheckpoint | undefined;
  try {
    other = average === undefined ? undefined : await openWeights(average, { config });
    if (other) checkSameModel(checkpoint, other);
    const { tensors, unexpected, metadata } = checkpoint;
    const stored: ModelConfig = {
      ...checkpoint.config,
      image: { ...checkpoint.config.image, ...(channelOrder && { channelOrder }) },
    };
    const entries = expectedTensors(stored).flatMap(({ name }) => tensors.get(toInternalName(name)) ?? []);
    const toWrite = entries.map((entry) => {
      const type = targetType(entry, dtype);
      const partner = other?.tensors.get(toInternalName(entry.officialName));
      const data = async () => {
        const values = await entry.read();
        const others = await partner?.read();
        return fromFloat32(others ? values.map((value, i) => (value + others[i]!) / 2) : values, type);
      };
      return { name: entry.officialName, dtype: type, shape: entry.shape, data };
    });
    await writeSafetensors(output, toWrite, {
      metadata: new Map([...metadata, configToMetadata(stored)]),
      onProgress,
    });
    return { config: stored, tensors: toWrite.length, dropped: unexpected };
  } finally {
    await other?.close();
    await checkpoint.close();
  }
};
