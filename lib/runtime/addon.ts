import { setMaxListeners } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ERROR_CODES, type ErrorCode, HrsamError } from '../errors.js';
import type { Plan } from './plan.js';

/** The native addon as it is (native/binding/). Everything else in lib/ goes through Device, Tensor and Program. */
export interface NativeBuffer {
  write(source: ArrayBufferView, offset: number): void;
  read(): Submitted<ArrayBuffer>;
  view(): ArrayBuffer | undefined;
  /** Of float32 in a mapped file. */
  allFinite(offset: number, count: number): Promise<boolean>;
  dispose(): void;
}

export interface NativeProgram {
  run(inputs: NativeBuffer[], outputs: NativeBuffer[], flops: number): Submitted<void>;
  dispose(): void;
}

/** A mask as run lengths. */
export interface MaskEncoding {
  /** Pixels set. */
  area: number;
  /** Smallest and largest index that is set: x0, y0, x1, y1; zeros for an empty mask. */
  bbox: [number, number, number, number];
  /** COCO run lengths, column-major, starting with a run of zeros. */
  counts: Uint32Array;
}

/** Where a simulated user clicks next. */
export interface NextClick {
  /** 1: on the object, 0: on the background, -1: nowhere, the prediction is right. */
  label: 1 | 0 | -1;
  /** Largest distance, in pixels, from inside a region to its outside: of what the prediction lacks of the object. */
  deepestMissing: number;
  /** Of what it has too much. */
  deepestExtra: number;
  /** Pixels that may be clicked, y · width + x, ascending. */
  candidates: Uint32Array;
}

/** A picture's part in a sample; native/image/sample.h says what each field means. */
export interface NativeSampleLayer {
  rgb: Uint8Array;
  mask: Uint8Array;
  width: number;
  height: number;
  x: number;
  y: number;
  stepX: number;
  stepY: number;
  turnX: number;
  turnY: number;
  colour: number[];
}

export interface NativeSampleSpec {
  size: number;
  width: number;
  height: number;
  layers: NativeSampleLayer[];
  target: number;
  others: readonly Uint8Array[];
  feather: number;
  shadow: number;
  blur: number;
  noise: number;
  seed: number;
}

export interface NativeDevice {
  setThreads(threads: number): Submitted<void>;
  memory(): { buffers: number; packed: number; cached: number; peak: number };
  trim(): Submitted<void>;
  peak(dtype: number): Submitted<number>;
  createBuffer(bytes: number): NativeBuffer;
  mapFile(path: string): NativeBuffer;
  compile(plan: Plan, constants: NativeBuffer[]): Submitted<NativeProgram>;
  cancel(id: number): void;
  encodeMasks(masks: NativeBuffer, count: number, height: number, width: number): Submitted<MaskEncoding[]>;
  /** Clicks as y · columns + x. */
  dropRegions(
    logits: NativeBuffer,
    index: number,
    rows: number,
    columns: number,
    height: number,
    width: number,
    clicks: Uint32Array,
    share: number,
  ): Submitted<void>;
}

/** A processor as it describes itself. */
export interface DeviceInfo {
  /** Name of the processor or GPU. */
  name: string;
  /** Instruction sets, driver: for people. */
  detail: string;
  /** Bytes. */
  memory: number;
  /** CPU threads; 0 elsewhere. */
  threads: number;
}

/** A promise and the handle that cancels what it waits for. */
export interface Submitted<T> {
  promise: Promise<T>;
  id: number;
}

export interface Addon {
  NativeDevice: new (kind: string, ordinal: number) => NativeDevice;
  devices(kind: string): DeviceInfo[];
  generateScene(
    seed: number,
    width: number,
    height: number,
    objects: number,
  ): Promise<{ rgb: Uint8Array; masks: Uint8Array[]; boxes: MaskEncoding['bbox'][]; areas: number[] }>;
  makeSample(spec: NativeSampleSpec): Promise<{ rgb: Uint8Array; mask: Uint8Array; others: Uint8Array[] }>;
  /** Masks as COCO run lengths; `clicked` as y · width + x. */
  nextClick(
    prediction: Uint32Array,
    object: Uint32Array,
    height: number,
    width: number,
    clicked: Uint32Array,
    innerK: number,
  ): Promise<NextClick>;
  boundaryOverlap(
    a: Uint32Array,
    b: Uint32Array,
    height: number,
    width: number,
    radius: number,
  ): Promise<{ intersection: number; union: number }>;
}

let loaded: Addon | undefined;

/** The package's own folder, from dist/ as well as from lib/. */
export function packageRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'package.json')) && folder !== dirname(folder)) folder = dirname(folder);
  return folder;
}

const packageJson = (): { name?: string; version: string } =>
  JSON.parse(readFileSync(join(packageRoot(), 'package.json'), 'utf8'));

export const packageVersion = (): string => packageJson().version;

/** Loads the addon once: a build in build/Release first, then the prebuilt binary of this platform. */
export function addon(): Addon {
  if (loaded) return loaded;
  // Not called `require`: in the CommonJS build that would hide the one that import.meta.url becomes.
  const requireFrom = createRequire(import.meta.url);
  const root = packageRoot();
  try {
    loaded = requireFrom('node-gyp-build')(root) as Addon;
  } catch (cause) {
    if ((cause as { code?: unknown }).code === 'ERR_DLOPEN_FAILED') {
      throw new HrsamError('ERR_ADDON', `the binary does not load: ${(cause as Error).message}`, { cause });
    }
    if (packageJson().name !== 'hrsam') {
      throw new HrsamError('ERR_ADDON', 'bundled into another file, away from binaries and weights', {
        where: root,
        expected: 'hrsam external to the bundle (esbuild --external:hrsam) and in node_modules',
        cause,
      });
    }
    const musl = existsSync('/etc/alpine-release');
    const platform = `${process.platform}-${process.arch}${musl ? ' with musl' : ''}`;
    const tools = musl ? 'Alpine: apk add' : 'Debian/Ubuntu: apt-get install -y';
    throw new HrsamError(
      'ERR_ADDON',
      `no binary for ${platform} in ${join(root, 'build')} or ${join(root, 'prebuilds')}. To build it: ` +
        `npm run build:native in ${root} (minutes; needs CMake and a C++20 compiler; ${tools} cmake g++ make)`,
      { cause },
    );
  }
  return loaded;
}

const isErrorCode = (code: unknown): code is ErrorCode => typeof code === 'string' && code in ERROR_CODES;

const lost = new WeakSet<NativeDevice>();

/** Whether work on it has ended with ERR_DEVICE_LOST: all that follows will, too. */
export const isLost = (device: NativeDevice): boolean => lost.has(device);

/** Errors of the addon carry a code and a message; this makes them HrsamErrors. */
export function typed(error: unknown, device?: NativeDevice): unknown {
  const code = (error as { code?: unknown } | null)?.code;
  if (device && code === 'ERR_DEVICE_LOST') lost.add(device);
  return error instanceof Error && !(error instanceof HrsamError) && isErrorCode(code)
    ? new HrsamError(code, error.message, { cause: error })
    : error;
}

/** Calls into the addon, of a device if one is given. */
export function native<T>(call: () => T, device?: NativeDevice): T {
  try {
    return call();
  } catch (error) {
    throw typed(error, device);
  }
}

/** Waits for work on Node's pool, with errors of the binding's own as HrsamErrors. */
export async function pooled<T>(start: () => Promise<T>): Promise<T> {
  try {
    return await start();
  } catch (error) {
    throw typed(error);
  }
}

/** @throws HrsamError ERR_ABORTED when it has fired, ERR_ARGUMENT when it is none */
export function checkSignal(signal: AbortSignal | undefined): void {
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw new HrsamError('ERR_ARGUMENT', 'signal', { expected: 'an AbortSignal', actual: typeof signal });
  if (signal?.aborted)
    throw new HrsamError('ERR_ABORTED', 'the request was aborted', { cause: signal.reason });
}

/** Awaits work of the addon; an abort while it is queued or between two steps ends it with ERR_ABORTED. */
export async function settled<T>(
  device: NativeDevice,
  submit: () => Submitted<T>,
  signal?: AbortSignal,
): Promise<T> {
  checkSignal(signal);
  const { promise, id } = native(submit, device);
  const cancel = () => device.cancel(id);
  // One signal for many requests is no leak: each takes its listener back.
  if (signal) setMaxListeners(0, signal);
  signal?.addEventListener('abort', cancel, { once: true });
  try {
    return await promise;
  } catch (error) {
    // With the signal's reason for a cause, as before anything is submitted.
    if ((error as { code?: unknown } | null)?.code === 'ERR_ABORTED') checkSignal(signal);
    throw typed(error, device);
  } finally {
    signal?.removeEventListener('abort', cancel);
  }
}
