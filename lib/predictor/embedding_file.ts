import { HrsamError } from '../errors.js';
import { evaluate } from '../graph/evaluate.js';
import { permute } from '../graph/ops/permute.js';
import type { Size } from '../image/resize.js';
import type { Device } from '../runtime/device.js';
import type { Tensor } from '../runtime/tensor.js';
import { SafetensorsFile } from '../weights/safetensors.js';
import { writeSafetensors } from '../weights/safetensors_writer.js';

/** The sizes that a picture's prompts and masks are mapped with. */
export interface SavedEmbedding {
  original: Size;
  resized: Size;
  input: Size;
}

/** What a file may ask for: the masks of a picture of this many pixels, about 32768². */
const MAX_PIXELS = 2 ** 30;

const KEY = 'hrsam.picture';

const permuted = async (x: Tensor, order: readonly number[]): Promise<Tensor> =>
  (await evaluate({ x }, (graph, values) => ({ y: permute(graph, values.x!, order) }))).y!;

/** Writes an embedding (b, h, w, c) as tensor `embedding` (b, c, h, w), float32, as the official code has it. */
export async function writeEmbedding(path: string, embedding: Tensor, sizes?: SavedEmbedding): Promise<void> {
  using official = await permuted(embedding, [0, 3, 1, 2]);
  const data = await official.data();
  const metadata: [string, string][] = sizes ? [[KEY, JSON.stringify(sizes)]] : [];
  await writeSafetensors(path, [{ name: 'embedding', dtype: 'F32', shape: official.shape, data }], {
    metadata,
  });
}

/** Reads such a file: the embedding as (b, h, w, c) and, where it is that of a picture, the picture's sizes. */
export async function readEmbedding(
  path: string,
  device: Device,
): Promise<{ embedding: Tensor; sizes?: SavedEmbedding }> {
  const file = await SafetensorsFile.open(path);
  try {
    const stored = file.tensors.get('embedding');
    if (stored?.shape.length !== 4 || stored.shape.includes(0) || stored.dtype !== 'F32') {
      throw new HrsamError('ERR_WEIGHTS', 'no embedding', {
        where: path,
        expected: "a tensor 'embedding' F32 (b, c, h, w)",
        actual: stored ? `${stored.dtype} [${stored.shape}]` : [...file.tensors.keys()],
      });
    }
    const sizes = parseSizes(file.metadata.get(KEY), path);
    using official = device.tensor(stored.shape, 'f32', (await file.read('embedding')) as Float32Array);
    return { embedding: await permuted(official, [0, 2, 3, 1]), sizes };
  } finally {
    await file.close();
  }
}

function parseSizes(json: string | undefined, where: string): SavedEmbedding | undefined {
  if (json === undefined) return undefined;
  const isSize = (value: unknown): value is Size => {
    const { height, width } = (value ?? {}) as Partial<Size>;
    const good = (side: unknown): side is number => Number.isSafeInteger(side) && (side as number) > 0;
    return good(height) && good(width) && height * width <= MAX_PIXELS;
  };
  try {
    const { original, resized, input } = JSON.parse(json) as Partial<SavedEmbedding>;
    const fits =
      isSize(resized) && isSize(input) && resized.height <= input.height && resized.width <= input.width;
    if (fits && isSize(original)) return { original, resized, input };
  } catch {
    // Falls through to the one error for everything that is not what we write.
  }
  throw new HrsamError('ERR_WEIGHTS', `metadata '${KEY}'`, {
    where,
    expected: 'sizes of a picture',
    actual: json,
  });
}
