import type { ImageConfig } from '../weights/config.js';
import type { Sample } from './samples/mixture.js';

/**
 * Samples as the model's input (B, 3, S, S): normalised, padding 0, channels in the model's order. As in `preprocess`, the
 * means go by plane: those who train on BGR do not turn them.
 */
export function normalised(samples: readonly Sample[], config: ImageConfig): Float32Array {
  const size = samples[0]!.image.width;
  const plane = size * size;
  const out = new Float32Array(samples.length * 3 * plane);
  const tables = config.mean.map((mean, c) =>
    Float32Array.from({ length: 256 }, (_, value) => (value - mean) / config.std[c]!),
  );
  samples.forEach(({ image, width, height }, b) => {
    tables.forEach((table, c) => {
      const channel = config.channelOrder === 'rgb' ? c : 2 - c;
      const start = (b * 3 + c) * plane;
      for (let y = 0; y < height; y++) {
        for (let x = 0; x < width; x++)
          out[start + y * size + x] = table[image.data[3 * (y * size + x) + channel]!]!;
      }
    });
  });
  return out;
}
