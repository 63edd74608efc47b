import { HrsamError } from '../errors.js';
import { elementCount } from '../runtime/dtype.js';
import { configFromAuthors } from './authors.js';
import { CONFIG_KEY, configFromMetadata, type ModelConfig } from './config.js';
import { elementBytes, type FileDType, firstNotFinite, toFloat32 } from './dtypes.js';
import { checkTensors, expectedTensors } from './expected.js';
import { inferConfig } from './infer.js';
import { stripPrefixes, toInternalName } from './names.js';
import { presetConfig } from './presets.js';
import { type PytorchTensor, readPytorch, rejectLegacy } from './pytorch.js';
import { initialTensor } from './random.js';
import { readSafetensorsHeader } from './safetensors.js';
import { type ByteSource, openSource } from './source.js';
import { gather, touchedRange } from './strided.js';
import { readZipEntry, type ZipEntry } from './zip.js';

/** A tensor of a checkpoint, not yet read. */
export interface TensorEntry {
  /** The model's name (`backbone.*`, `image_encoder.*`, `neck.*`, `decode_head.*`). */
  readonly name: string;
  /** The official name, as a file of the family has it, without wrappers' prefixes. */
  readonly officialName: string;
  readonly dtype: FileDType;
  readonly shape: readonly number[];
  /** Of the row-major values from the start of the file; undefined when they must be gathered, unpacked or computed. */
  readonly offset?: number;
  readonly byteLength: number;
  /** The values as float32, row-major. @throws HrsamError ERR_WEIGHTS where one is not finite */
  readonly read: () => Promise<Float32Array>;
  /** The values as they are stored, little-endian, row-major. */
  readonly readBytes: () => Promise<Uint8Array>;
}

/** An open weights file. Entries can be read until it is closed. */
export interface Checkpoint {
  readonly format: 'safetensors' | 'pytorch' | 'random';
  /** What errors call it. */
  readonly name: string;
  /** Of the file, for memory mapping. */
  readonly path?: string;
  /** The configuration stored in the file, or resolved by `openWeights`. */
  readonly config?: ModelConfig;
  readonly metadata: ReadonlyMap<string, string>;
  /** By the model's names. */
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** What the state dict holds besides tensors, by the model's names. */
  readonly skipped: ReadonlyMap<string, string>;
  close(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
}

type Stored = Pick<TensorEntry, 'dtype' | 'shape' | 'offset' | 'byteLength' | 'readBytes'>;

const readFloat32 = async ({ dtype, readBytes }: Stored, where: string): Promise<Float32Array> => {
  const values = await readBytes()
    .then((bytes) => toFloat32(dtype, bytes, where))
    .catch((cause) => {
      if (!(cause instanceof RangeError)) throw cause;
      throw new HrsamError('ERR_OUT_OF_MEMORY', 'no memory for its values', { where, cause });
    });
  const at = firstNotFinite(values);
  if (at < 0) return values;
  throw new HrsamError('ERR_WEIGHTS', 'a value that no model computes with', {
    where,
    expected: 'finite values',
    actual: `${values[at]} at ${at}`,
  });
};

const nameEntries = (stored: ReadonlyMap<string, Stored>, file: string): Map<string, TensorEntry> => {
  const entries = new Map<string, TensorEntry>();
  for (const [storedName, tensor] of stored) {
    const officialName = stripPrefixes(storedName);
    const name = toInternalName(officialName);
    if (entries.has(name)) {
      throw new HrsamError('ERR_WEIGHTS', 'two tensors have one name once prefixes are stripped', {
        where: file,
        actual: storedName,
      });
    }
    const read = () => readFloat32(tensor, `${file}: tensor ${storedName}`);
    entries.set(name, { ...tensor, name, officialName, read });
  }
  return entries;
};

const openSafetensors = async (source: ByteSource) => {
  const { metadata, tensors } = await readSafetensorsHeader(source);
  const stored = new Map<string, Stored>();
  for (const [name, { dtype, shape, offset, byteLength }] of tensors) {
    const readBytes = () => source.read(offset, byteLength);
    stored.set(name, { dtype, shape, offset, byteLength, readBytes });
  }
  return { format: 'safetensors' as const, metadata, stored, skipped: new Map<string, string>() };
};

type ReadStorage = (storage: ZipEntry) => Promise<Uint8Array>;

/** Reads storages whole. The last packed one stays: to unpack it for each tensor that is a view of it takes for ever. */
const storageReader = (source: ByteSource): ReadStorage => {
  let last: { storage: ZipEntry; bytes: Promise<Uint8Array> } | undefined;
  return (storage) => {
    if (storage.stored) return readZipEntry(source, storage);
    if (last?.storage !== storage) last = { storage, bytes: readZipEntry(source, storage) };
    return last.bytes;
  };
};

const readPytorchTensor = async (
  source: ByteSource,
  readStorage: ReadStorage,
  tensor: PytorchTensor,
  size: number,
): Promise<Uint8Array> => {
  const { storage, offset } = tensor;
  const [first, end] = touchedRange(tensor).map((element) => element * size) as [number, number];
  const whole = end - first === storage.size;
  // whole storages are compared with their checksum; parts cannot be
  if (!storage.stored || whole) {
    const bytes = (await readStorage(storage)).subarray(first, end);
    return offset === undefined ? gather(tensor, bytes) : bytes;
  }
  if (offset !== undefined) return source.read(offset, end - first);
  return gather(tensor, await source.read(storage.offset + first, end - first));
};

const openPytorch = async (source: ByteSource) => {
  const { tensors, skipped } = await readPytorch(source);
  const readStorage = storageReader(source);
  const stored = new Map<string, Stored>();
  for (const [name, tensor] of tensors) {
    const { dtype, shape, offset } = tensor;
    const size = elementBytes(dtype);
    const readBytes = () => readPytorchTensor(source, readStorage, tensor, size);
    stored.set(name, { dtype, shape, offset, byteLength: elementCount(shape) * size, readBytes });
  }
  const renamed = new Map([...skipped].map(([name, what]) => [toInternalName(stripPrefixes(name)), what]));
  return { format: 'pytorch' as const, metadata: new Map<string, string>(), stored, skipped: renamed };
};

const openFormat = async (source: ByteSource) => {
  const magic = await source.read(0, Math.min(9, source.size));
  // safetensors first: the length before its { may look like anything
  if (magic[8] === 0x7b) return openSafetensors(source);
  if (magic[0] === 0x50 && magic[1] === 0x4b) return openPytorch(source);
  if (magic[0] === 0x80) return rejectLegacy(source);
  throw new HrsamError('ERR_WEIGHTS', 'is no weights file', {
    where: source.name,
    expected: 'safetensors, or a PyTorch checkpoint (zip)',
    actual: magic.length ? `bytes ${Buffer.from(magic).toString('hex')} …` : 'an empty file',
  });
};

/**
 * Opens a weights file without asking what model it is for: reads its header or pickle, no values.
 * @param input a path, or a file's bytes
 * @throws HrsamError ERR_FILE, ERR_WEIGHTS; ERR_CONFIG when the file carries a configuration that is not valid
 */
export const openCheckpoint = async (input: string | Uint8Array): Promise<Checkpoint> => {
  const source = await openSource(input);
  try {
    const { format, metadata, stored, skipped } = await openFormat(source);
    const tensors = nameEntries(stored, source.name);
    const close = () => source.close();
    return {
      format,
      name: source.name,
      path: source.path,
      config: configFromMetadata(metadata, source.name),
      metadata,
      tensors,
      skipped,
      close,
      [Symbol.asyncDispose]: close,
    };
  } catch (error) {
    await source.close();
    throw error;
  }
};

/** A checkpoint whose tensors are those of its configuration. */
export type ModelCheckpoint = Checkpoint & {
  readonly config: ModelConfig;
  /** Tensors that the configuration does not know: left alone. */
  readonly unexpected: readonly string[];
};

/**
 * Opens a model's weights: a safetensors file or a PyTorch checkpoint, with official names of HRSAM or SAM.
 * @param config settings in the authors' keywords (or a `ModelConfig`), before what the file carries and what its
 *   tensors tell
 * @throws HrsamError ERR_FILE, ERR_WEIGHTS; ERR_CONFIG when the configuration is unknown or the tensors do not fit it
 */
export const openWeights = async (
  input: string | Uint8Array,
  { config }: { config?: unknown } = {},
): Promise<ModelCheckpoint> => {
  const checkpoint = await openCheckpoint(input);
  try {
    const { name: where, tensors, skipped } = checkpoint;
    const resolved =
      config === undefined ? (checkpoint.config ?? inferConfig(tensors, where)) : configFromAuthors(config);
    const { unexpected } = checkTensors(resolved, tensors, { skipped, where });
    await checkFrequencies(tensors.get('backbone.rope.freqs'), resolved, where);
    return { ...checkpoint, config: resolved, unexpected };
  } catch (error) {
    await checkpoint.close();
    throw error;
  }
};

/** The authors' code takes rotary frequencies from the file; here they follow from the settings, and the file's must agree. */
async function checkFrequencies(
  entry: TensorEntry | undefined,
  config: ModelConfig,
  where: string,
): Promise<void> {
  if (!entry || config.family !== 'hrsam') return;
  const { theta } = config.encoder.rope;
  const stored = await entry.read();
  stored.forEach((actual, k) => {
    const expected = theta ** (-k / stored.length);
    if (Math.abs(actual - expected) <= 0.01 * expected) return; // bf16 rounds by up to 0.4 %
    throw new HrsamError('ERR_CONFIG', `rotary frequencies of another base than ${theta}`, {
      where: `${where}: ${entry.officialName}[${k}]`,
      expected,
      actual,
    });
  });
}

/**
 * An **untrained** model: deterministic random values that keep every layer's output in a sensible range. Its masks mean nothing;
 * it serves benches and tests.
 * @param preset name of a preset, or a configuration
 * @param seed 0 gives the values that the reference cases were computed with
 */
export const randomWeights = async (preset: string | ModelConfig, seed = 0): Promise<ModelCheckpoint> => {
  const config = typeof preset === 'string' ? presetConfig(preset) : preset;
  const stored = new Map<string, Stored>();
  for (const { name, shape } of expectedTensors(config)) {
    const readBytes = async () => new Uint8Array(initialTensor(name, shape, seed).buffer);
    stored.set(name, { dtype: 'F32', shape, byteLength: elementCount(shape) * 4, readBytes });
  }
  const close = async () => {};
  return {
    format: 'random',
    name: typeof preset === 'string' ? preset : `random ${config.family}`,
    config,
    metadata: new Map([[CONFIG_KEY, JSON.stringify(config)]]),
    tensors: nameEntries(stored, 'random'),
    skipped: new Map(),
    unexpected: [],
    close,
    [Symbol.asyncDispose]: close,
  };
};
