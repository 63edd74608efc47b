import { HrsamError } from '../errors.js';
import { evaluate } from '../graph/evaluate.js';
import { concat } from '../graph/ops/concat.js';
import { slice } from '../graph/ops/slice.js';
import type { HRSAM } from '../predictor/hrsam.js';
import type { Network } from '../predictor/network.js';
import { Owned } from '../runtime/owned.js';
import type { Tensor } from '../runtime/tensor.js';
import { COLOUR_CHANNELS } from '../weights/config.js';
import { SafetensorsFile } from '../weights/safetensors.js';

/** The tensor `image` (b, 3, H, W) of a file, on the model's device. @throws HrsamError ERR_FILE, ERR_WEIGHTS, ERR_SHAPE */
export async function readImages(path: string, model: HRSAM): Promise<Tensor> {
  await using file = await SafetensorsFile.open(path);
  const stored = file.tensors.get('image');
  const { patchSize } = model.config.encoder;
  const [batch, found, height, width] = stored?.shape ?? [];
  const fits =
    stored?.dtype === 'F32' &&
    stored.shape.length === 4 &&
    batch! > 0 &&
    found === COLOUR_CHANNELS &&
    [height!, width!].every((side) => side > 0 && side % patchSize === 0);
  if (!fits) {
    throw new HrsamError('ERR_SHAPE', 'no images', {
      where: path,
      expected: `a tensor 'image' F32 (b, ${COLOUR_CHANNELS}, H, W), H and W multiples of ${patchSize}`,
      actual: stored ? `${stored.dtype} [${stored.shape}]` : [...file.tensors.keys()],
    });
  }
  const values = (await file.read('image')) as Float32Array;
  if (!values.every(Number.isFinite)) {
    throw new HrsamError('ERR_SHAPE', "values of 'image'", { where: path, expected: 'finite numbers' });
  }
  return model.device.tensor(stored.shape, 'f32', values);
}

/** Images (b, 3, H, W) → embeddings (b, h, w, E), in one run of the encoder. */
export async function encodeTensor(network: Network, images: Tensor, signal?: AbortSignal): Promise<Tensor> {
  const indices = Array.from({ length: images.shape[0]! }, (_, i) => i);
  using owned = new Owned();
  const own = (tensor: Tensor): Tensor => owned.add(tensor);
  if (indices.length === 1) return (await network.encode([images], signal))[0]!;
  const single = await evaluate({ images }, (graph, values) =>
    Object.fromEntries(indices.map((i) => [i, slice(graph, values.images!, 0, i, i + 1)])),
  );
  const embeddings = await network.encode(
    indices.map((i) => own(single[i]!)),
    signal,
  );
  const parts = Object.fromEntries(embeddings.map((embedding, i) => [`e${i}`, own(embedding)]));
  const joined = await evaluate(parts, (graph, values) => ({
    all: concat(
      graph,
      Object.keys(parts).map((name) => values[name]!),
      0,
    ),
  }));
  return joined.all!;
}
