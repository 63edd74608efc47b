import type { HostTensors, OpCase } from './reference.js';
import type { HostValues } from './run.js';

/** The weights of an op's case, `w.<name>` in its file, under the names that our graph asks for. */
export const caseWeights = (tensors: HostTensors, { name, weights }: OpCase, prefix = ''): HostValues =>
  Object.fromEntries(weights.map((weight) => [prefix + weight, tensors.get(`${name}/w.${weight}`)]));
