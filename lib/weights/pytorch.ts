import { HrsamError } from '../errors.js';
import { elementCount } from '../runtime/dtype.js';
import { isWhole } from '../whole.js';
import { elementBytes, type FileDType } from './dtypes.js';
import { Global, Inert, MAX_PICKLE_BYTES, PersistentId, type Pickled, readPickle, Tuple } from './pickle.js';
import type { ByteSource } from './source.js';
import { isContiguous, type StridedTensor } from './strided.js';
import { readZip, readZipEntry, type ZipEntry } from './zip.js';

/**
 * PyTorch checkpoints (the zip format of `torch.save`) as data: the pickle inside is read, never executed. Found are the tensors
 * of the state dict; whatever else is in the file (optimizer, training messages, arguments) may be of any kind and is not looked at.
 */
export interface PytorchCheckpoint {
  readonly tensors: ReadonlyMap<string, PytorchTensor>;
  /** Entries of the state dict that are no tensors, and what they are. */
  readonly skipped: ReadonlyMap<string, string>;
}

/** A view into a storage: element (i, j, …) lies at `storageOffset + i·strides[0] + j·strides[1] + …`. */
export interface PytorchTensor extends StridedTensor {
  readonly name: string;
  readonly storage: ZipEntry;
  /** In the file, when the values lie there one after another. */
  readonly offset?: number;
}

const STORAGE_DTYPES: Readonly<Record<string, FileDType>> = {
  DoubleStorage: 'F64',
  FloatStorage: 'F32',
  HalfStorage: 'F16',
  BFloat16Storage: 'BF16',
  LongStorage: 'I64',
  IntStorage: 'I32',
  ShortStorage: 'I16',
  CharStorage: 'I8',
  ByteStorage: 'U8',
  BoolStorage: 'BOOL',
};

/** Keys under which checkpoints keep the state dict, in the order they are tried; else the whole is one. */
const STATE_DICT_KEYS = ['state_dict', 'model'];

/** A view with stride 0 may be larger than its storage; beyond this it is an attack on memory. */
const MAX_EXPANDED_ELEMENTS = 1 << 20;

const LEGACY_HELP =
  "convert it once with Python: torch.save(torch.load('old.pth', map_location='cpu', weights_only=True), 'new.pth')";

const bad = (where: string, summary: string, expected?: unknown, actual?: unknown): never => {
  throw new HrsamError('ERR_WEIGHTS', summary, { where, expected, actual });
};

/** @throws HrsamError ERR_WEIGHTS that tells how to convert the file */
export const rejectLegacy = (source: ByteSource): never =>
  bad(source.name, `a PyTorch file of the format before 1.6, or a bare pickle: ${LEGACY_HELP}`);

/** Python dictionaries and their subclasses as maps. */
const asDictionary = (value: Pickled | undefined): ReadonlyMap<Pickled, Pickled> | undefined => {
  if (value instanceof Map) return value;
  return isCallOf(value, ['collections.OrderedDict']) ? value.entries : undefined;
};

const describe = (value: Pickled): string => {
  if (value instanceof Inert) return String(value);
  if (value instanceof Global) return `the global ${value}`;
  if (value === null) return 'None';
  if (typeof value === 'object')
    return value instanceof Map ? 'a dictionary' : `a ${value.constructor.name.toLowerCase()}`;
  return `a ${typeof value}`;
};

const TENSOR_CALLS = ['torch._utils._rebuild_tensor', 'torch._utils._rebuild_tensor_v2'];
const PARAMETER_CALLS = ['torch._utils._rebuild_parameter', 'torch._utils._rebuild_parameter_with_state'];

const isCallOf = (value: Pickled | undefined, names: readonly string[]): value is Inert =>
  value instanceof Inert && value.callable instanceof Global && names.includes(String(value.callable));

const findStateDict = (root: Pickled, where: string): ReadonlyMap<Pickled, Pickled> => {
  const outer = asDictionary(root);
  if (!outer)
    return bad(where, 'the checkpoint holds no state dict', 'a dictionary of tensors', describe(root));
  for (const key of STATE_DICT_KEYS) {
    const inner = asDictionary(outer.get(key));
    if (inner) return inner;
  }
  return outer;
};

/** Finds `<folder>/data.pkl`; torch names the folder after the file. */
const findFolder = (entries: ReadonlyMap<string, ZipEntry>, where: string): string => {
  const pickles = [...entries.keys()].filter((name) => /^[^/]+\/data\.pkl$/.test(name));
  if (pickles.length !== 1) {
    bad(
      where,
      'the zip archive is no PyTorch checkpoint',
      'one <folder>/data.pkl',
      pickles.length ? pickles : 'none',
    );
  }
  const folder = pickles[0]!.slice(0, -'data.pkl'.length);
  if (entries.has(`${folder}constants.pkl`)) {
    bad(where, 'the file is a TorchScript program, not a checkpoint: save its state_dict() instead');
  }
  return folder;
};

const checkByteOrder = async (source: ByteSource, entry: ZipEntry | undefined): Promise<void> => {
  if (!entry) return;
  const order = entry.size <= 16 ? new TextDecoder().decode(await readZipEntry(source, entry)) : 'unknown';
  if (order.trim() !== 'little') bad(source.name, 'the checkpoint has another byte order', 'little', order);
};

const argumentsOf = (record: Inert): readonly Pickled[] =>
  record.args instanceof Tuple ? record.args.items : [];

/** Makes tensors of the records of `torch._utils._rebuild_…` calls. */
class TensorReader {
  constructor(
    private readonly entries: ReadonlyMap<string, ZipEntry>,
    private readonly folder: string,
    private readonly file: string,
  ) {}

  /** Undefined for a value that is no tensor. */
  read(name: string, value: Pickled): PytorchTensor | undefined {
    const where = `${this.file}: tensor ${name.slice(0, 200)}`;
    if (isCallOf(value, PARAMETER_CALLS)) {
      // a parameter is a tensor with a flag
      const inner = argumentsOf(value)[0] ?? null;
      return isCallOf(inner, TENSOR_CALLS)
        ? this.tensor(name, inner, where)
        : bad(where, 'a parameter without a tensor', 'a tensor', describe(inner));
    }
    return isCallOf(value, TENSOR_CALLS) ? this.tensor(name, value, where) : undefined;
  }

  private tensor(name: string, record: Inert, where: string): PytorchTensor {
    const args = argumentsOf(record);
    const { storage, dtype, elements } = this.storage(args[0], where);
    const [storageOffset, shape, strides] = [args[1], sizes(args[2]), sizes(args[3])];
    if (!isWhole(storageOffset, 0) || !shape || !strides || shape.length !== strides.length) {
      return bad(where, 'its offset, sizes or strides are none');
    }
    checkView(shape, strides, storageOffset, elements, where);
    const contiguous = storage.stored && isContiguous(shape, strides);
    const offset = contiguous ? storage.offset + storageOffset * elementBytes(dtype) : undefined;
    return { name, dtype, shape, strides, storageOffset, storage, ...(offset !== undefined && { offset }) };
  }

  private storage(value: Pickled | undefined, where: string) {
    const id = value instanceof PersistentId && value.id instanceof Tuple ? value.id.items : [];
    const [kind, type, key, , elements] = id;
    if (kind !== 'storage' || !(type instanceof Global) || typeof key !== 'string' || !isWhole(elements, 0)) {
      return bad(
        where,
        'its storage is none',
        "('storage', type, key, location, elements)",
        describe(value ?? null),
      );
    }
    const known = type.module === 'torch' && Object.hasOwn(STORAGE_DTYPES, type.name);
    if (!known) return bad(where, 'unknown storage type', Object.keys(STORAGE_DTYPES), String(type));
    const dtype = STORAGE_DTYPES[type.name]!;
    const storage = this.entries.get(`${this.folder}data/${key}`);
    if (!storage) return bad(where, `its storage ${key.slice(0, 100)} is not in the file`);
    const bytes = elements * elementBytes(dtype);
    if (storage.size !== bytes) bad(where, 'its storage has another size', `${bytes} bytes`, storage.size);
    return { storage, dtype, elements };
  }
}

/** A tuple of sizes, or a `torch.Size` of one. */
const sizes = (value: Pickled | undefined): number[] | undefined => {
  const tuple = isCallOf(value, ['torch.Size']) ? argumentsOf(value)[0] : value;
  const items = tuple instanceof Tuple ? tuple.items : tuple;
  return Array.isArray(items) && items.length <= 64 && items.every((size) => isWhole(size, 0))
    ? items
    : undefined;
};

/** Every element of the view lies inside the storage, and the view is not absurdly larger than it. */
const checkView = (
  shape: number[],
  strides: number[],
  start: number,
  elements: number,
  where: string,
): void => {
  const count = elementCount(shape);
  const last = shape.includes(0) ? -1 : shape.reduce((sum, size, i) => sum + (size - 1) * strides[i]!, start);
  if (!Number.isSafeInteger(count) || !Number.isSafeInteger(last) || last >= elements || start > elements) {
    bad(
      where,
      'it reaches beyond its storage',
      `at most ${elements} elements`,
      `[${shape}] with strides [${strides}]`,
    );
  }
  if (count > elements && count > MAX_EXPANDED_ELEMENTS) {
    bad(where, 'it repeats its storage too often', `at most ${MAX_EXPANDED_ELEMENTS} elements`, count);
  }
};

/**
 * Reads the directory and the pickle of a checkpoint; of the tensors' values, nothing. Layouts: a plain state dict,
 * `{'state_dict': …}` (also mmengine's, with all it adds), `{'model': …}`.
 * @throws HrsamError ERR_WEIGHTS
 */
export const readPytorch = async (source: ByteSource): Promise<PytorchCheckpoint> => {
  const where = source.name;
  const entries = await readZip(source);
  const folder = findFolder(entries, where);
  await checkByteOrder(source, entries.get(`${folder}byteorder`));
  const pickle = entries.get(`${folder}data.pkl`)!;
  if (pickle.size > MAX_PICKLE_BYTES) {
    bad(where, 'the pickle is too large', `at most ${MAX_PICKLE_BYTES} bytes`, pickle.size);
  }
  const root = readPickle(await readZipEntry(source, pickle), where);
  const reader = new TensorReader(entries, folder, where);
  const tensors = new Map<string, PytorchTensor>();
  const skipped = new Map<string, string>();
  for (const [name, value] of findStateDict(root, where)) {
    if (typeof name !== 'string') continue;
    const tensor = reader.read(name, value);
    if (tensor) tensors.set(name, tensor);
    else skipped.set(name, describe(value));
  }
  if (tensors.size === 0) {
    const found = [...skipped].map(([name, what]) => `${name}: ${what}`);
    bad(
      where,
      'the checkpoint holds no tensors',
      'a state dict',
      found.length ? found : 'an empty dictionary',
    );
  }
  return { tensors, skipped };
};
