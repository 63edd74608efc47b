import { join } from 'node:path';
import { packageRoot } from '../runtime/addon.js';

/** The trained model inside the package: what is used where no weights are named. weights/README.md says what it is. */
export const shippedWeights = (): string => join(packageRoot(), 'weights', 'hrsam-s.safetensors');
