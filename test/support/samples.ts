import { createHash } from 'node:crypto';
import type { Sample } from '../../lib/train/samples/mixture.js';

/** Of a sample's pixels, labels and size. */
export const sampleDigest = ({ image, mask, width, height }: Sample): string =>
  createHash('sha256')
    .update(image.data)
    .update(mask)
    .update(`${width},${height}`)
    .digest('hex')
    .slice(0, 12);
