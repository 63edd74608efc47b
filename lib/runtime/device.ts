import { cpus } from 'node:os';
import { HrsamError } from '../errors.js';
import {
  addon,
  type DeviceInfo,
  isLost,
  type MaskEncoding,
  type NativeBuffer,
  type NativeDevice,
  native,
  settled,
} from './addon.js';
import { byteCount, DTYPES, type DType, elementCount, type Shape } from './dtype.js';
import type { Plan } from './plan.js';
import { Program } from './program.js';
import { Tensor, type TensorData } from './tensor.js';

/** What a device's memory holds, in bytes. */
export interface MemoryReport {
  /** Bytes of live tensors. */
  buffers: number;
  /** Bytes of weights in kernel order. */
  packed: number;
  /** Bytes of working memory kept for the next run; `trim()` frees it. */
  cached: number;
  /** Largest sum of the three so far. */
  peak: number;
}

const KINDS = ['cpu', 'cuda'] as const;
const opened = new Map<string, Device>();
let toldAboutCpu = false;

/**
 * A processor that holds tensors and runs programs: `cpu`, `cuda` or `cuda:N`. There is one Device object per
 * processor; work submitted to it is run by a thread of its own, so the event loop never waits.
 */
export class Device {
  private constructor(
    /** Which backend computes. */
    readonly kind: (typeof KINDS)[number],
    /** Which of a kind: N of `cuda:N`. */
    readonly ordinal: number,
    /** @internal */ readonly handle: NativeDevice,
  ) {}

  /**
   * Opens a device by name. `auto` takes the first CUDA device that answers, else the CPU, and says so once on stderr, in
   * each of Node's threads.
   * @throws HrsamError ERR_DEVICE for an unknown name, or for `cuda` without a usable driver or backend.
   */
  static open(name = 'cpu'): Device {
    if (name === 'auto') return Device.#auto();
    const match = /^(cpu|cuda)(?::(\d{1,3}))?$/.exec(name);
    if (!match) {
      throw new HrsamError('ERR_DEVICE', 'unknown device', {
        expected: 'cpu, cuda, cuda:N or auto',
        actual: name,
      });
    }
    const kind = match[1] as (typeof KINDS)[number];
    const ordinal = Number(match[2] ?? 0);
    const key = `${kind}:${ordinal}`;
    let device = opened.get(key);
    if (!device) {
      device = new Device(
        kind,
        ordinal,
        native(() => new (addon().NativeDevice)(kind, ordinal)),
      );
      opened.set(key, device);
    }
    return device;
  }

  static #auto(): Device {
    try {
      return Device.open('cuda');
    } catch (error) {
      if (!(error instanceof HrsamError) || error.code !== 'ERR_DEVICE') throw error;
      if (!toldAboutCpu)
        process.stderr.write('hrsam: using the CPU (no GPU to use; `hrsam doctor` says why)\n');
      toldAboutCpu = true;
      return Device.open('cpu');
    }
  }

  /** What is installed of a kind. @throws HrsamError ERR_DEVICE where the kind cannot be used, saying why. */
  static list(kind: (typeof KINDS)[number]): DeviceInfo[] {
    if (!KINDS.includes(kind))
      throw new HrsamError('ERR_DEVICE', 'unknown kind', { expected: KINDS.join(', '), actual: kind });
    const found = native(() => addon().devices(kind));
    return kind === 'cpu' ? found.map((cpu) => ({ ...cpu, name: cpus()[0]?.model ?? process.arch })) : found;
  }

  /** `cpu` or `cuda:N`, as `open` takes it. */
  get name(): string {
    return this.kind === 'cpu' ? 'cpu' : `${this.kind}:${this.ordinal}`;
  }

  /** What it is: the processor's name, its instruction sets or driver, its memory. */
  info(): DeviceInfo {
    return Device.list(this.kind)[this.ordinal]!;
  }

  /** Whether it has failed for good, with ERR_DEVICE_LOST: this process cannot use it any more. */
  get lost(): boolean {
    return isLost(this.handle);
  }

  /** What is held now, of all models and tensors on this device. */
  memory(): MemoryReport {
    return native(() => this.handle.memory());
  }

  #threads: number | undefined;

  /** CPU threads that work here: those set last, at first as many as the processor has. */
  get threads(): number {
    return this.#threads ?? this.info().threads;
  }

  /**
   * Sets the number of CPU threads, 1 to 1024, of this device and all that runs on it. Results do not depend on it.
   * @throws HrsamError ERR_ARGUMENT
   */
  async setThreads(threads: number): Promise<void> {
    if (!Number.isInteger(threads) || threads < 1 || threads > 1024) {
      throw new HrsamError('ERR_ARGUMENT', 'threads', {
        expected: 'an integer from 1 to 1024',
        actual: threads,
      });
    }
    await settled(this.handle, () => this.handle.setThreads(threads));
    this.#threads = threads;
  }

  /** Frees working memory kept for the next run. */
  async trim(): Promise<void> {
    await settled(this.handle, () => this.handle.trim());
  }

  /** The arithmetic ceiling measured now, in GFLOP/s: register-resident multiply-adds on all threads. */
  async measurePeak(dtype: 'f32' | 'bf16'): Promise<number> {
    if (dtype !== 'f32' && dtype !== 'bf16')
      throw new HrsamError('ERR_ARGUMENT', 'dtype', { expected: 'f32 or bf16', actual: dtype });
    return settled(this.handle, () => this.handle.peak(DTYPES.indexOf(dtype)));
  }

  /**
   * A tensor on this device; without `data` its content is undefined until written.
   * @throws HrsamError ERR_SHAPE, ERR_ARGUMENT, ERR_OUT_OF_MEMORY
   */
  tensor<T extends DType = 'f32'>(shape: Shape, dtype: T = 'f32' as T, data?: TensorData): Tensor<T> {
    if (!DTYPES.includes(dtype)) {
      throw new HrsamError('ERR_ARGUMENT', 'dtype', { expected: DTYPES.join(', '), actual: dtype });
    }
    if (!Array.isArray(shape) || shape.some((size) => !Number.isInteger(size) || size < 0)) {
      throw new HrsamError('ERR_SHAPE', 'tensor shape', {
        expected: 'whole numbers, 0 or more',
        actual: shape,
      });
    }
    const buffer = native(() => this.handle.createBuffer(byteCount(shape, dtype)), this.handle);
    const tensor = new Tensor(this, buffer, shape, dtype);
    try {
      return data === undefined ? tensor : tensor.write(data);
    } catch (error) {
      tensor.dispose();
      throw error;
    }
  }

  /** @internal @throws HrsamError ERR_DEVICE for a tensor of another device */
  expectOwn({ device }: Tensor, what: string): void {
    if (device !== this)
      throw new HrsamError('ERR_DEVICE', what, { expected: this.name, actual: device.name });
  }

  /** @internal Maps a file read-only; on the CPU its pages are used in place. */
  mapFile(path: string): NativeBuffer {
    return native(() => this.handle.mapFile(path), this.handle);
  }

  /** @internal */
  async compile(plan: Plan, constants: NativeBuffer[], signal?: AbortSignal): Promise<Program> {
    const handle = await settled(this.handle, () => this.handle.compile(plan, constants), signal);
    return new Program(this, handle, plan);
  }

  /** Area, box and COCO run lengths of 0/1 masks: u8 of shape (..., height, width), less than 2³² pixels each. @throws HrsamError ERR_SHAPE, ERR_DEVICE, ERR_DISPOSED */
  async encodeMasks(masks: Tensor): Promise<MaskEncoding[]> {
    const isTensor = masks instanceof Tensor;
    const [height, width] = isTensor ? masks.shape.slice(-2) : [];
    if (!isTensor || masks.dtype !== 'u8' || height === undefined || width === undefined) {
      throw new HrsamError('ERR_SHAPE', 'masks', {
        expected: 'u8 (…, h, w)',
        actual: isTensor ? `${masks.dtype} [${masks.shape}]` : 'no tensor',
      });
    }
    this.expectOwn(masks, 'masks');
    const count = elementCount(masks.shape.slice(0, -2));
    return settled(this.handle, () => this.handle.encodeMasks(masks.buffer, count, height, width));
  }
  /**
   * @internal Takes off a mask what lies apart from its clicks: connected regions without a click on the object and smaller
   * than a share of the largest region with one. By corners they are connected where the picture's mask is, which is
   * interpolated. Their logits change sign. A mask without a click on it stays as it is.
   * @param logits f32 (…, rows, columns): written to
   * @param index which mask of them
   * @param picture rows and columns that are picture, the first ones; all else stays
   * @param clicks on the object, in cells [x, y] of the picture
   */
  async dropRegions(
    logits: Tensor,
    index: number,
    { height, width }: { height: number; width: number },
    clicks: readonly (readonly [number, number])[],
    share: number,
  ): Promise<void> {
    const [rows, columns] = logits.shape.slice(-2) as [number, number];
    const cells = Uint32Array.from(clicks, ([x, y]) => y * columns + x);
    return settled(this.handle, () =>
      this.handle.dropRegions(logits.buffer, index, rows, columns, height, width, cells, share),
    );
  }
}
