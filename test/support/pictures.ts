import type { Pixels } from '../../lib/image/pixels.js';

/** A picture that is the same everywhere: waves and blocks, in colour. */
export function testPicture(width: number, height: number, seed = 0): Pixels {
  const data = new Uint8Array(width * height * 3);
  for (let y = 0; y < height; y++) {
    for (let x = 0; x < width; x++) {
      const at = (y * width + x) * 3;
      data[at] = (x * 3 + seed * 17) & 255;
      data[at + 1] = ((x >> 4) ^ (y >> 4)) & 1 ? 200 : 40;
      data[at + 2] = (y * 5 + x * y) & 255;
    }
  }
  return { data, width, height, channels: 3 };
}
