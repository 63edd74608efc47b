import type { ModelConfig } from '../../../lib/weights/config.js';
import { expectedTensors } from '../../../lib/weights/expected.js';
import { presetConfig } from '../../../lib/weights/presets.js';
import { initialTensor } from '../../../lib/weights/random.js';
import type { TensorToWrite } from '../../../lib/weights/safetensors_writer.js';
import { Pickler } from './pickle_writer.js';
import { pickleStateDict, torchArchive } from './torch_writer.js';

/** `hrsam++-tiny` in the authors' keywords. */
export const authors = {
  backbone: {
    type: 'HRSAMPlusPlusViT',
    downsample_sizes: [64],
    window_size: 8,
    state_dim: 16,
    depth: 4,
    embed_dim: 96,
    num_heads: 3,
    out_indices: [0, 1, 2, 3],
    final_embed_dim: 64,
  },
  neck: { embed_dim: 64, image_embed_size: [16, 16], input_image_size: [256, 256] },
  decode_head: { in_dim: 64, attn_cfg: { mlp_dim: 128 }, iou_head_hidden_dim: 64 },
  test_cfg: { target_size: 256 },
};

export const config = presetConfig('hrsam++-tiny');

export const tensorsOf = (model: ModelConfig): TensorToWrite[] =>
  expectedTensors(model).map(({ name, shape }) => ({
    name,
    dtype: 'F32',
    shape,
    data: initialTensor(name, shape),
  }));

/** A checkpoint as torch writes it, names prefixed. */
export const torchCheckpoint = (
  model: ModelConfig,
  prefix: string,
  tensors = tensorsOf(model),
): Uint8Array => {
  const storages = Object.fromEntries(
    tensors.map(({ data }, i) => [String(i), new Uint8Array((data as Float32Array).buffer)]),
  );
  const elements = (shape: readonly number[]) => shape.reduce((a, b) => a * b, 1);
  const pickled = tensors.map(({ name, shape }, i) => ({
    name: prefix + name,
    shape,
    storage: String(i),
    elements: elements(shape),
  }));
  const pickle = pickleStateDict(new Pickler().dict().mark().text('state_dict'), pickled).setItems().stop();
  return torchArchive(pickle, storages);
};

/** Compares bytes at once: element by element takes seconds on whole models. */
export const same = (a: ArrayBufferView, b: ArrayBufferView): boolean =>
  Buffer.compare(
    Buffer.from(a.buffer, a.byteOffset, a.byteLength),
    Buffer.from(b.buffer, b.byteOffset, b.byteLength),
  ) === 0;
