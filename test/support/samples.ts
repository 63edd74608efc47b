import { createHash } from 'node:crypto';
import { type Augmentation, augmentation } from '../../lib/train/samples/augment.js';
import type { Sample } from '../../lib/train/samples/mixture.js';

/** Of a sample's pixels, labels and size. */
export const sampleDigest = ({ image, mask, width, height }: Sample): string =>
  createHash('sha256')
    .update(image.data)
    .update(mask)
    .update(`${width},${height}`)
    .digest('hex')
    .slice(0, 12);

/** Pictures as they are, resized by the protocol. */
export const noAugmentation: Augmentation = {
  ...augmentation,
  crop: 0,
  flip: 0,
  rotate: 0,
  stretch: 0,
  colour: 0,
  grey: 0,
  blur: 0,
  noise: 0,
  paste: 0,
};
