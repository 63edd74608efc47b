import { afterAll } from 'vitest';
import { bilinearResize } from '../../../lib/graph/ops/bilinear_resize.js';
import { slice } from '../../../lib/graph/ops/slice.js';
import type { Pixels } from '../../../lib/image/pixels.js';
import { HRSAM } from '../../../lib/predictor/hrsam.js';
import type { EncodedImage } from '../../../lib/predictor/image.js';
import type { Mask } from '../../../lib/predictor/mask.js';
import { writeSafetensors } from '../../../lib/weights/safetensors_writer.js';
import { expectClose } from '../../support/compare.js';
import { generate, type HostTensor, samNoise, type TensorRule } from '../../support/reference.js';
import { device, host, runOne } from '../../support/run.js';

// Registered when a test file imports this one: hooks that tests and other hooks register are not run.
const cleanups: (() => unknown)[] = [];
afterAll(async () => {
  for (const clean of cleanups.splice(0)) await clean();
});

/** Writes the tensors of a reference model under their official names. */
export const writeCheckpoint = (path: string, tensors: readonly TensorRule[]): Promise<void> =>
  writeSafetensors(
    path,
    tensors.map((rule) => ({
      name: rule.name,
      dtype: 'F32',
      shape: rule.shape,
      data: async () => generate(rule).data,
    })),
  );

/** An untrained model on the device under test, disposed after the tests of the file. */
export async function randomModel(preset: string, dtype: 'f32' | 'bf16' = 'f32'): Promise<HRSAM> {
  const model = await HRSAM.load(`random:${preset}`, { device, dtype });
  cleanups.push(() => model.dispose());
  return model;
}

/** A picture of smooth shapes and some noise. */
export function picture(height: number, width: number, channels: 1 | 3 | 4 = 3): Pixels {
  const data = new Uint8Array(height * width * channels);
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      for (let c = 0; c < channels; c++, i++) {
        const wave = Math.sin(x / (7 + c) + c) + Math.cos(y / 9 - (c * x) / 40);
        data[i] = 118 + 50 * wave + (((y * width + x) * 2654435761) >>> 28);
      }
    }
  }
  return { data, width, height, channels };
}

/** Logits (1, masks, H, W) at the picture's size: enlarged to the model's input, cropped, resized. */
export function fullLogits(masks: readonly Mask[], image: EncodedImage): Promise<HostTensor> {
  const { input, resized, padded, original } = image;
  const { height, width } = masks[0]!.logits;
  const logits = host(
    [1, masks.length, height, width],
    masks.flatMap((mask) => [...mask.logits.data]),
  );
  return runOne({ logits }, (graph, v) => {
    const whole = bilinearResize(graph, v.logits!, [input.height, input.width], false);
    const cut = slice(graph, slice(graph, whole, 2, 0, resized.height), 3, 0, resized.width);
    const full = bilinearResize(graph, cut, [padded.height, padded.width], false);
    return slice(graph, slice(graph, full, 2, 0, original.height), 3, 0, original.width);
  });
}

/** Compares predicted IoUs of a Segment Anything case with the tensor `name`: ten times its noise, or the floor. */
export function expectScores(
  masks: readonly Mask[],
  expected: ArrayLike<number>,
  folder: string,
  name: string,
): void {
  // A few numbers only: their noise in relative L2; what one of them happens to differ by absolutely is chance.
  const { fp64_rel_rms } = samNoise(folder)[name]!;
  const scores = masks.map(({ score }) => score);
  expectClose(scores, expected, { fp64_rel_rms }, 'predicted IoUs');
}

/** Everything that a mask says, to compare two exactly. */
export const contents = ({ index, score, area, bbox, rle, logits }: Mask) => ({
  index,
  score,
  area,
  bbox,
  rle,
  logits,
});
