import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import sharp from 'sharp';

type Rgb = readonly [number, number, number];
export const RED: Rgb = [255, 0, 0];
export const GREEN: Rgb = [0, 255, 0];
export const BLUE: Rgb = [0, 0, 255];

/** Wide, high, square and very wide. */
export const SHAPES = [
  [120, 80],
  [64, 100],
  [90, 90],
  [200, 60],
] as const;

/** A set with an index.json: of each size a disk of one colour on another. */
export async function discSet(
  folder: string,
  object: Rgb,
  background: Rgb,
  sizes: readonly (readonly [number, number])[],
): Promise<string> {
  await mkdir(join(folder, 'images'), { recursive: true });
  const entries: { image: string; mask: string }[] = [];
  for (const [i, [width, height]] of sizes.entries()) {
    const rgb = new Uint8Array(3 * width * height);
    const mask = new Uint8Array(width * height);
    const [cx, cy, r] = [width * (0.3 + 0.1 * i), height * 0.5, Math.min(width, height) * 0.3];
    for (let at = 0; at < mask.length; at++) {
      const inside = ((at % width) - cx) ** 2 + (Math.floor(at / width) - cy) ** 2 < r * r;
      mask[at] = inside ? 255 : 0;
      rgb.set(inside ? object : background, 3 * at);
    }
    const entry = { image: `images/${i}.png`, mask: `images/${i}_mask.png` };
    await sharp(rgb, { raw: { width, height, channels: 3 } })
      .png()
      .toFile(join(folder, entry.image));
    await sharp(mask, { raw: { width, height, channels: 1 } })
      .png()
      .toFile(join(folder, entry.mask));
    entries.push(entry);
  }
  await writeFile(join(folder, 'index.json'), JSON.stringify(entries));
  return folder;
}
