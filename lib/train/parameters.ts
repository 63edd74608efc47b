import type { ConstantPlace, ConstantSource } from '../graph/compile.js';
import type { Device } from '../runtime/device.js';
import type { Tensor } from '../runtime/tensor.js';
import type { ModelConfig } from '../weights/config.js';
import { expectedTensors, MODEL_PARTS, type ModelPart } from '../weights/expected.js';
import { isTrained, toInternalName } from '../weights/names.js';
import type { Parameter } from './groups.js';
import type { Recipe } from './recipe.js';

/** A model's tensors by the model's names: what training changes, and what it does not. */
export function modelTensors(
  config: ModelConfig,
  parts: readonly ModelPart[] = MODEL_PARTS,
): { trained: Parameter[]; fixed: Parameter[] } {
  const all = expectedTensors(config, parts).map(({ name, shape }) => ({
    name: toInternalName(name),
    shape,
  }));
  return {
    trained: all.filter(isTrained),
    fixed: all.filter((parameter) => !isTrained(parameter)),
  };
}

/** The same for what a recipe trains: in a distillation the encoder alone, the rest being the teacher's. */
export function recipeTensors({ task, model }: Recipe): { trained: Parameter[]; fixed: Parameter[] } {
  if (task === 'finetune') return modelTensors(model);
  const { trained, fixed } = modelTensors(model, ['encoder']);
  const others = modelTensors(model, ['prompt', 'decoder']);
  return { trained, fixed: [...fixed, ...others.trained, ...others.fixed] };
}

/** Values of tensors by name, f32. */
export type Values = (name: string, shape: readonly number[]) => Float32Array;

/** Tensors that programs read but do not train, on the device. */
export class FixedTensors implements ConstantSource {
  readonly #tensors = new Map<string, Tensor>();

  constructor(device: Device, tensors: readonly Parameter[], values: Values) {
    for (const { name, shape } of tensors)
      this.#tensors.set(name, device.tensor(shape, 'f32', values(name, shape)));
  }

  find(name: string): ConstantPlace | undefined {
    const tensor = this.#tensors.get(name);
    return tensor && { buffer: tensor.buffer, offset: 0, shape: tensor.shape, dtype: tensor.dtype };
  }

  dispose(): void {
    for (const tensor of this.#tensors.values()) tensor.dispose();
    this.#tensors.clear();
  }
}
