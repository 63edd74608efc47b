import { HrsamError } from '../errors.js';
import { evaluate } from '../graph/evaluate.js';
import { permute } from '../graph/ops/permute.js';
import { longestSide, type Size } from '../image/resize.js';
import type { Device } from '../runtime/device.js';
import { Owned } from '../runtime/owned.js';
import type { Tensor } from '../runtime/tensor.js';
import { SafetensorsFile } from '../weights/safetensors.js';
import { type TensorToWrite, writeSafetensors } from '../weights/safetensors_writer.js';
import { isWhole } from '../whole.js';
import type { PictureSizes } from './network.js';

/** What a file may ask for: the masks of a picture of this many pixels, about 32768². */
const MAX_PIXELS = 2 ** 30;

const KEY = 'hrsam.picture';
const MODEL_KEY = 'hrsam.model';

const permuted = async (x: Tensor, order: readonly number[]): Promise<Tensor> =>
  (await evaluate({ x }, (graph, values) => ({ y: permute(graph, values.x!, order) }))).y!;

/**
 * Writes an embedding (b, h, w, c) as tensor `embedding` (b, c, h, w), float32, as the official code has it.
 * @param coarse of the same picture at the model's own size, where answers are made there first: tensor `coarse`
 * @param model fingerprint of the weights that made it
 */
export async function writeEmbedding(
  path: string,
  embedding: Tensor,
  sizes?: PictureSizes,
  coarse?: Tensor,
  model?: string,
): Promise<void> {
  const metadata: [string, string][] = sizes ? [[KEY, JSON.stringify(sizes)]] : [];
  if (model !== undefined) metadata.push([MODEL_KEY, model]);
  const tensors: TensorToWrite[] = [];
  for (const [name, tensor] of Object.entries({ embedding, ...(coarse && { coarse }) })) {
    using official = await permuted(tensor, [0, 3, 1, 2]);
    tensors.push({ name, dtype: 'F32', shape: official.shape, data: await official.data() });
  }
  await writeSafetensors(path, tensors, { metadata });
}

/** Reads such a file: the embeddings as (b, h, w, c) and, where they are those of a picture, the picture's sizes. */
export async function readEmbedding(
  path: string,
  device: Device,
): Promise<{ embedding: Tensor; sizes?: PictureSizes; coarse?: Tensor; model?: string }> {
  const file = await SafetensorsFile.open(path);
  try {
    const read = async (name: string): Promise<Tensor> => {
      const stored = file.tensors.get(name);
      if (stored?.shape.length !== 4 || stored.shape.includes(0) || stored.dtype !== 'F32') {
        throw new HrsamError('ERR_WEIGHTS', 'no embedding', {
          where: path,
          expected: `a tensor '${name}' F32 (b, c, h, w)`,
          actual: stored ? `${stored.dtype} [${stored.shape}]` : [...file.tensors.keys()],
        });
      }
      using official = device.tensor(stored.shape, 'f32', (await file.read(name)) as Float32Array);
      return await permuted(official, [0, 2, 3, 1]);
    };
    const sizes = parseSizes(file.metadata.get(KEY), path);
    using owned = new Owned();
    const embedding = owned.add(await read('embedding'));
    const coarse = file.tensors.has('coarse') ? owned.add(await read('coarse')) : undefined;
    owned.move();
    return { embedding, sizes, ...(coarse && { coarse }), model: file.metadata.get(MODEL_KEY) };
  } finally {
    await file.close();
  }
}

function parseSizes(json: string | undefined, where: string): PictureSizes | undefined {
  if (json === undefined) return undefined;
  const isSize = (value: unknown): value is Size => {
    const { height, width } = (value ?? {}) as Partial<Size>;
    return isWhole(height, 1) && isWhole(width, 1) && height * width <= MAX_PIXELS;
  };
  try {
    const { original, resized, input } = JSON.parse(json) as Partial<PictureSizes>;
    if (isSize(original) && isSize(resized) && isSize(input) && input.height === input.width) {
      const { height, width } = longestSide(original.height, original.width, input.height);
      if (resized.height === height && resized.width === width) return { original, resized, input };
    }
  } catch {
    // Falls through to the one error for everything that is not what we write.
  }
  throw new HrsamError('ERR_WEIGHTS', `metadata '${KEY}'`, {
    where,
    expected: 'sizes of a picture',
    actual: json,
  });
}
