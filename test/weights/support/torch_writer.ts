import { Pickler } from './pickle_writer.js';
import { writeZip, type ZipInput, type ZipOptions } from './zip_writer.js';

export interface TorchTensor {
  name: string;
  shape: readonly number[];
  strides?: readonly number[];
  offset?: number;
  /** Key of the storage; tensors may share one. */
  storage: string;
  type?: string;
  elements: number;
}

const rowMajor = (shape: readonly number[]): number[] =>
  shape.map((_, i) => shape.slice(i + 1).reduce((a, b) => a * b, 1));

/** Leaves the tensor on the pickle's stack, as torch does. */
export const pickleTensor = (pickler: Pickler, tensor: TorchTensor): Pickler => {
  const { shape, strides = rowMajor(shape), offset = 0, storage, type = 'FloatStorage', elements } = tensor;
  pickler.global('torch._utils', '_rebuild_tensor_v2').mark();
  pickler
    .mark()
    .text('storage')
    .global('torch', type)
    .text(storage)
    .text('cpu')
    .long(BigInt(elements))
    .tuple()
    .persistentId();
  return pickler.long(BigInt(offset)).ints(shape).ints(strides).bool(false).orderedDict().tuple().reduce();
};

/** A state dict on the stack. */
export const pickleStateDict = (pickler: Pickler, tensors: readonly TorchTensor[]): Pickler => {
  pickler.orderedDict().mark();
  for (const tensor of tensors) pickleTensor(pickler.text(tensor.name), tensor);
  return pickler.setItems();
};

export interface ArchiveOptions extends ZipOptions {
  deflate?: boolean;
  extra?: ZipInput[];
  folder?: string;
}

/** The zip file around a pickle and its storages. */
export const torchArchive = (
  pickle: Uint8Array,
  storages: Record<string, Uint8Array>,
  options: ArchiveOptions = {},
): Uint8Array => {
  const { deflate, extra = [], folder = 'archive', ...zip } = options;
  const entries = Object.entries(storages).map(([key, data]) => ({
    name: `${folder}/data/${key}`,
    data,
    deflate,
  }));
  const version = { name: `${folder}/version`, data: Buffer.from('3\n') };
  return writeZip(
    [{ name: `${folder}/data.pkl`, data: pickle, deflate }, ...entries, version, ...extra],
    zip,
  );
};

export const floatBytes = (...values: number[]): Uint8Array =>
  new Uint8Array(Float32Array.from(values).buffer);

/** A checkpoint of one tensor `w` [2, 3] = 0 … 5. */
export const smallCheckpoint = (options?: ArchiveOptions): Uint8Array => {
  const tensor = { name: 'w', shape: [2, 3], storage: '0', elements: 6 };
  return torchArchive(
    pickleStateDict(new Pickler(), [tensor]).stop(),
    { 0: floatBytes(0, 1, 2, 3, 4, 5) },
    options,
  );
};
