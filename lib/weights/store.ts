import type { ConstantPlace, ConstantSource } from '../graph/compile.js';
import { type NativeBuffer, pooled } from '../runtime/addon.js';
import type { Device } from '../runtime/device.js';
import { elementCount } from '../runtime/dtype.js';
import type { Tensor } from '../runtime/tensor.js';
import type { Checkpoint } from './checkpoint.js';

/** Tensors of a mapped file must start at a multiple of this to be read in place. */
const ALIGNMENT = 4;

/**
 * A checkpoint's tensors on a device, as f32: read in place from the mapped file where they are f32 already, else cast
 * once. Kernels pack what they need when programs are compiled; the file's pages are given back then.
 */
export class WeightStore implements ConstantSource {
  readonly #places = new Map<string, ConstantPlace>();
  readonly #tensors: Tensor[] = [];
  #mapped: NativeBuffer | undefined;

  private constructor(readonly device: Device) {}

  /** Places the tensors that `wanted` names; default: all. @throws HrsamError ERR_WEIGHTS, ERR_FILE, ERR_OUT_OF_MEMORY */
  static async open(
    device: Device,
    checkpoint: Checkpoint,
    options: { wanted?: ReadonlySet<string>; onProgress?: (done: number, total: number) => void } = {},
  ): Promise<WeightStore> {
    const store = new WeightStore(device);
    try {
      await store.#fill(checkpoint, options.wanted, options.onProgress);
      return store;
    } catch (error) {
      store.dispose();
      throw error;
    }
  }

  async #fill(
    checkpoint: Checkpoint,
    wanted?: ReadonlySet<string>,
    onProgress?: (done: number, total: number) => void,
  ): Promise<void> {
    const names = [...checkpoint.tensors.keys()].filter((name) => wanted?.has(name) ?? true);
    let done = 0;
    for (const name of names) {
      const { dtype, shape, offset, read } = checkpoint.tensors.get(name)!;
      const inPlace =
        checkpoint.path !== undefined && offset !== undefined && dtype === 'F32' && offset % ALIGNMENT === 0;
      if (inPlace) {
        this.#mapped ??= this.device.mapFile(checkpoint.path!);
        const mapped = this.#mapped;
        // Reading it again tells which value it is.
        if (!(await pooled(() => mapped.allFinite(offset, elementCount(shape))))) await read();
        this.#places.set(name, { buffer: mapped, offset, shape, dtype: 'f32' });
      } else {
        const tensor = this.device.tensor(shape, 'f32', await read());
        this.#tensors.push(tensor);
        this.#places.set(name, { buffer: tensor.buffer, offset: 0, shape, dtype: 'f32' });
      }
      onProgress?.(++done, names.length);
    }
  }

  find(name: string): ConstantPlace | undefined {
    return this.#places.get(name);
  }

  dispose(): void {
    for (const tensor of this.#tensors.splice(0)) tensor.dispose();
    this.#mapped?.dispose();
    this.#mapped = undefined;
    this.#places.clear();
  }
}
