import type { LabelImage } from '../../data/read_labels.js';
import { brightest, inside } from '../../image/mask_picture.js';
import type { Rle } from '../../image/rle.js';

/** Run lengths of each label of a map, `label(i)` being that of pixel i in row order; 0 is no region. */
export function regions(height: number, width: number, label: (i: number) => number): Map<number, Rle> {
  const found = new Map<number, { counts: number[]; end: number }>();
  let [current, begin] = [0, 0];
  const close = (end: number) => {
    if (current === 0) return;
    let region = found.get(current);
    if (!region) {
      region = { counts: [], end: 0 };
      found.set(current, region);
    }
    region.counts.push(begin - region.end, end - begin);
    region.end = end;
  };
  let at = 0;
  for (let x = 0; x < width; x++) {
    for (let i = x; i < height * width; i += width, at++) {
      const value = label(i);
      if (value === current) continue;
      close(at);
      [current, begin] = [value, at];
    }
  }
  close(at);
  return new Map(
    [...found].map(([value, { counts, end }]) => {
      if (end < at) counts.push(at - end);
      return [value, { size: [height, width], counts }];
    }),
  );
}

/** The mask that a picture shows: where `test` holds of its brightest channel. */
export function binaryMask(image: LabelImage, test = inside(image)): Rle {
  const value = brightest(image);
  const { height, width } = image;
  const mask = regions(height, width, (i) => (test(value(i)) ? 1 : 0)).get(1);
  return mask ?? { size: [height, width], counts: [height * width] };
}
