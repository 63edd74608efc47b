import type { ParameterGroup } from '../graph/ops/adamw.js';
import { elementCount } from '../runtime/dtype.js';
import { isReducible } from '../weights/names.js';

export interface Parameter {
  /** The model's name. */
  name: string;
  shape: readonly number[];
}

export interface GroupRules {
  weightDecay: number;
  /** Learning-rate factor per block from the last one down; 1: none. */
  layerDecay: number;
  /** Blocks of the encoder. */
  depth: number;
}

/** Blocks lose learning rate towards the input; cycle-scan blocks, patch and position embedding keep all of it. */
export function learningRateScale(name: string, { layerDecay, depth }: GroupRules): number {
  const index = /^(?:backbone|image_encoder)\.blocks\.(\d+)\./.exec(name)?.[1];
  return index === undefined ? 1 : layerDecay ** (depth - Number(index));
}

/** One-dimensional tensors and biases do not decay; everything else does, as the published grouping has it. */
export function decays({ name, shape }: Parameter): boolean {
  return shape.length > 1 && !name.endsWith('.bias');
}

/** Learning-rate scale and weight decay of each parameter (the distillation stage of the published code). */
export function layerDecayGroups(parameters: readonly Parameter[], rules: GroupRules): ParameterGroup[] {
  return parameters.map((parameter) => ({
    length: elementCount(parameter.shape),
    rate: learningRateScale(parameter.name, rules),
    decay: decays(parameter) ? rules.weightDecay : 0,
  }));
}

/** All parameters alike, norms and biases too: the published fine-tuning stage, which `train` does not follow in that. */
export function uniformGroups(parameters: readonly Parameter[], weightDecay: number): ParameterGroup[] {
  return parameters.map(({ shape }) => ({ length: elementCount(shape), rate: 1, decay: weightDecay }));
}

/** Weights of linear layers: what Muon is made for. */
export const isLayerMatrix = (parameter: Parameter): boolean =>
  parameter.shape.length === 2 && isReducible(parameter);
