import { createHash } from 'node:crypto';
import { dirname, join } from 'node:path';
import { exists, pathInside } from '../data/files.js';
import { HrsamError } from '../errors.js';
import { makeFolder } from '../files.js';
import type { Device } from '../runtime/device.js';
import type { Tensor } from '../runtime/tensor.js';
import { type Checkpoint, openCheckpoint } from '../weights/checkpoint.js';
import { configToMetadata, type ModelConfig } from '../weights/config.js';
import { expectedTensors } from '../weights/expected.js';
import { toInternalName } from '../weights/names.js';
import { SafetensorsFile } from '../weights/safetensors.js';
import { type TensorToWrite, writeSafetensors } from '../weights/safetensors_writer.js';
import { isWhole } from '../whole.js';
import { readEmbedding, writeEmbedding } from './embedding_file.js';
import type { EncodedImage } from './image.js';
import type { PictureSizes } from './network.js';

/** Whose embeddings they are. */
interface Origin {
  /** Longest side of the pictures. */
  size: number;
  /** SHA-256 of the model's tensors. */
  weights: string;
}

const KEY = 'hrsam.embeddings';

type ModelWeights = Checkpoint & { config: ModelConfig };

/**
 * One model's embeddings of many pictures in a folder: `<picture>.safetensors` each, and in `decoder.safetensors` the
 * prompt encoder and mask decoder that turn them into masks. A distillation's students learn from it.
 */
export class EmbeddingStore {
  /** Makes the folder a store, where it is none yet. */
  readonly #begin: () => Promise<void>;

  private constructor(
    readonly folder: string,
    /** Of the model that made the embeddings. */
    readonly config: ModelConfig,
    readonly origin: Origin,
    begin: () => Promise<void>,
  ) {
    this.#begin = begin;
  }

  /**
   * A store to be filled, or filled further.
   * @param size longest side that pictures are brought to
   * @throws HrsamError ERR_FILE when another model's embeddings, or those of another size, are in it
   */
  static async create(folder: string, model: ModelWeights, size: number): Promise<EmbeddingStore> {
    const made: Origin = { size, weights: await fingerprint(model) };
    const path = decoderPath(folder);
    const there = await exists(path);
    if (there) await expectOrigin(path, made);
    const tensors: TensorToWrite[] = [];
    for (const { name, shape } of decoderTensors(model.config)) {
      const data = await model.tensors.get(toInternalName(name))!.read();
      tensors.push({ name, dtype: 'F32', shape, data });
    }
    const begin = async () => {
      await makeFolder(folder);
      await writeSafetensors(path, tensors, {
        metadata: [configToMetadata(model.config), [KEY, JSON.stringify(made)]],
      });
    };
    let begun = there ? Promise.resolve() : undefined;
    return new EmbeddingStore(folder, model.config, made, () => {
      begun ??= begin();
      return begun;
    });
  }

  /** Whether a folder is one, filled or begun. */
  static isOne(folder: string): Promise<boolean> {
    return exists(decoderPath(folder));
  }

  /** A store to be read. @throws HrsamError ERR_FILE, ERR_WEIGHTS, ERR_CONFIG when it is none */
  static async open(folder: string): Promise<EmbeddingStore> {
    const path = decoderPath(folder);
    if (!(await EmbeddingStore.isOne(folder)))
      throw new HrsamError('ERR_FILE', 'is no folder of embeddings: there is no decoder.safetensors in it', {
        where: folder,
        expected: 'one that hrsam embed <folder> filled',
      });
    await using file = await openCheckpoint(path);
    if (file.config) return new EmbeddingStore(folder, file.config, readOrigin(file, path), async () => {});
    throw new HrsamError('ERR_CONFIG', 'no configuration', { where: path });
  }

  /** Prompt encoder and mask decoder by the model's names, f32. @throws HrsamError ERR_FILE, ERR_WEIGHTS */
  async decoder(): Promise<Map<string, Float32Array>> {
    const path = decoderPath(this.folder);
    await using file = await openCheckpoint(path);
    const found = new Map<string, Float32Array>();
    for (const { name: official, shape } of decoderTensors(this.config)) {
      const name = toInternalName(official);
      const entry = file.tensors.get(name);
      if (entry?.shape.join() !== shape.join())
        throw new HrsamError('ERR_WEIGHTS', `tensor '${official}'`, {
          where: path,
          expected: shape,
          actual: entry?.shape ?? 'nothing',
        });
      found.set(name, await entry.read());
    }
    return found;
  }

  /** (1, E, h, w) of the files. */
  get shape(): [number, number, number, number] {
    const side = this.origin.size / this.config.encoder.patchSize;
    return [1, this.config.prompt.embedDim, side, side];
  }

  /** Where a picture's embedding is, or will be. @throws HrsamError ERR_FILE for a name that has no place here */
  file(name: string): string {
    const path = pathInside(this.folder, `${name}.safetensors`, this.folder);
    if (path === decoderPath(this.folder))
      throw new HrsamError('ERR_FILE', 'a picture of this name has no place beside the decoder', {
        where: this.folder,
        actual: name,
      });
    return path;
  }

  /** Whether a picture's embedding is there and complete. */
  async has(name: string): Promise<boolean> {
    const path = this.file(name);
    if (!(await exists(path))) return false;
    try {
      await using file = await SafetensorsFile.open(path);
      return file.tensors.get('embedding')?.shape.join() === this.shape.join();
    } catch (error) {
      if (error instanceof HrsamError) return false;
      throw error;
    }
  }

  /** @param name the picture's, a path below the store's folder. @throws HrsamError ERR_FILE */
  async add(name: string, { embedding, original, resized, input }: EncodedImage): Promise<void> {
    await this.#begin();
    const path = this.file(name);
    await makeFolder(dirname(path));
    await writeEmbedding(path, embedding, { original, resized, input });
  }

  /** A picture's embedding (1, h, w, E). @throws HrsamError ERR_FILE, ERR_WEIGHTS, ERR_SHAPE */
  async read(name: string, device: Device): Promise<{ embedding: Tensor; sizes?: PictureSizes }> {
    const path = this.file(name);
    const found = await readEmbedding(path, device);
    const [one, channels, height, width] = this.shape;
    const expected = [one, height, width, channels];
    if (found.embedding.shape.join() === expected.join()) return found;
    found.embedding.dispose();
    throw new HrsamError('ERR_SHAPE', 'embedding', { where: path, expected, actual: found.embedding.shape });
  }
}

const decoderPath = (folder: string): string => join(folder, 'decoder.safetensors');

const decoderTensors = (config: ModelConfig) => expectedTensors(config, ['prompt', 'decoder']);

async function fingerprint({ config, tensors }: ModelWeights): Promise<string> {
  const hash = createHash('sha256').update(JSON.stringify(config));
  for (const { name } of expectedTensors(config)) {
    const entry = tensors.get(toInternalName(name));
    if (entry) hash.update(`${name} ${entry.dtype} `).update(await entry.readBytes());
  }
  return hash.digest('hex');
}

function readOrigin(file: Checkpoint, where: string): Origin {
  try {
    const { size, weights } = JSON.parse(file.metadata.get(KEY) ?? '') as Partial<Origin>;
    if (isWhole(size, 1) && typeof weights === 'string') return { size, weights };
  } catch {
    // Falls through to the one error for everything that is not what we write.
  }
  throw new HrsamError('ERR_WEIGHTS', 'is not of a folder of embeddings', {
    where,
    expected: 'what hrsam embed <folder> writes',
  });
}

async function expectOrigin(path: string, { size, weights }: Origin): Promise<void> {
  await using file = await openCheckpoint(path);
  const found = readOrigin(file, path);
  if (found.weights !== weights)
    throw new HrsamError('ERR_FILE', 'embeddings of another model are in this folder', {
      where: dirname(path),
    });
  if (found.size !== size)
    throw new HrsamError('ERR_FILE', 'embeddings of another size are in this folder', {
      where: dirname(path),
      expected: found.size,
      actual: size,
    });
}
