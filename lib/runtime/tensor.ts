import { HrsamError } from '../errors.js';
import { type NativeBuffer, native, settled } from './addon.js';
import type { Device } from './device.js';
import { byteCount, type DType, elementCount, type Shape } from './dtype.js';

/** Elements, row-major: f32 as Float32Array, bf16 as its 16-bit patterns in a Uint16Array, i32 as Int32Array, u8 as Uint8Array. */
export type TensorData = Float32Array | Uint16Array | Int32Array | Uint8Array;

const ARRAYS = { f32: Float32Array, bf16: Uint16Array, i32: Int32Array, u8: Uint8Array } as const;

/** The array that a tensor of type `T` takes and gives. */
export type DataOf<T extends DType> = InstanceType<(typeof ARRAYS)[T]>;

/**
 * A handle to device memory with a shape and a type, row-major. Dispose it (`using`, or `dispose()`) to free the
 * memory at once; what is forgotten is freed by the garbage collector.
 */
export class Tensor<T extends DType = DType> {
  #buffer: NativeBuffer | undefined;
  #view: ArrayBuffer | undefined;
  /** Sizes of its axes. */
  readonly shape: readonly number[];

  /** @internal Tensors are made by `device.tensor()` and by programs. */
  constructor(
    /** Where its memory is. */
    readonly device: Device,
    buffer: NativeBuffer,
    shape: Shape,
    /** Type of its elements. */
    readonly dtype: T,
  ) {
    this.#buffer = buffer;
    this.shape = Object.freeze([...shape]);
  }

  /** Elements. */
  get size(): number {
    return elementCount(this.shape);
  }

  /** Bytes of its elements. */
  get bytes(): number {
    return byteCount(this.shape, this.dtype);
  }

  /** Whether `dispose()` was called. */
  get disposed(): boolean {
    return this.#buffer === undefined;
  }

  /** @internal @throws HrsamError ERR_DISPOSED */
  get buffer(): NativeBuffer {
    if (!this.#buffer)
      throw new HrsamError('ERR_DISPOSED', 'the tensor was disposed', { where: `[${this.shape}]` });
    return this.#buffer;
  }

  /**
   * The elements. On the CPU the array is the memory itself (it stays valid after `dispose()`, which then frees it
   * once the array is gone); from a GPU, and where JavaScript takes no memory but its own (Electron), it is a copy. bf16
   * comes as its 16-bit patterns.
   * @throws HrsamError ERR_DISPOSED, after the array's buffer was transferred as well
   */
  async data(): Promise<DataOf<T>> {
    const buffer = this.buffer;
    this.#view ??= native(() => buffer.view());
    const bytes = this.#view ?? (await settled(this.device.handle, () => buffer.read()));
    // Node 22 and later: by `transfer()`.
    if ((bytes as { detached?: boolean }).detached)
      throw new HrsamError('ERR_DISPOSED', 'its memory was transferred', { where: `[${this.shape}]` });
    return new ARRAYS[this.dtype](bytes, 0, this.size) as DataOf<T>;
  }

  /** Overwrites the content. @throws HrsamError ERR_SHAPE when type or length differ. */
  write(data: TensorData): this {
    return this.#write(data, data?.length === this.size, `${this.size}`);
  }

  /** Overwrites the first elements, as many as `data` has. @throws HrsamError ERR_SHAPE when type differs or it is longer. */
  writeStart(data: TensorData): this {
    return this.#write(data, data?.length <= this.size, `${this.size} at most`);
  }

  #write(data: TensorData, fits: boolean, length: string): this {
    if (!(data instanceof ARRAYS[this.dtype]) || !fits) {
      throw new HrsamError('ERR_SHAPE', 'data of a tensor', {
        expected: `${ARRAYS[this.dtype].name} of length ${length} for ${this.dtype} [${this.shape}]`,
        actual:
          data == null
            ? `${data}`
            : `${(data as TensorData).constructor?.name} of length ${(data as TensorData).length}`,
      });
    }
    const buffer = this.buffer;
    // The addon reads no memory that other threads may write to.
    const own = data.buffer instanceof SharedArrayBuffer ? data.slice() : data;
    native(() => buffer.write(own, 0), this.device.handle);
    return this;
  }

  /** Frees the memory. Doing it twice is harmless. */
  dispose(): void {
    this.#buffer?.dispose();
    this.#buffer = undefined;
    this.#view = undefined;
  }

  [Symbol.dispose](): void {
    this.dispose();
  }
}
