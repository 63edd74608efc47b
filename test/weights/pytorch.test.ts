import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { openCheckpoint } from '../../lib/weights/checkpoint.js';
import { initialTensor } from '../../lib/weights/random.js';
import { rejection } from './support/expect.js';
import { Pickler } from './support/pickle_writer.js';
import {
  floatBytes,
  pickleStateDict,
  pickleTensor,
  smallCheckpoint,
  type TorchTensor,
  torchArchive,
} from './support/torch_writer.js';
import { writeZip } from './support/zip_writer.js';

const fixture = (name: string) => fileURLToPath(new URL(`../fixtures/weights/${name}`, import.meta.url));

const values = async (input: string | Uint8Array, name: string) => {
  await using checkpoint = await openCheckpoint(input);
  return [...(await checkpoint.tensors.get(name)!.read())];
};

const quarters = (count: number) => Array.from({ length: count }, (_, i) => i / 4 - 1);

const six = { storage: '0', elements: 6 };
const w: TorchTensor = { name: 'w', shape: [2, 3], ...six };
const oneTensor = (tensor: TorchTensor, storage = floatBytes(0, 1, 2, 3, 4, 5)) =>
  torchArchive(pickleStateDict(new Pickler(), [tensor]).stop(), { 0: storage });

describe('a file that PyTorch 1.13 wrote', () => {
  it('gives every type and view its values', async () => {
    const base = quarters(24);
    const expected: Record<string, [string, number[], number[]]> = {
      f32: ['F32', [2, 3], quarters(6)],
      f64: ['F64', [4], quarters(4)],
      f16: ['F16', [5], quarters(5)],
      bf16: ['BF16', [5], quarters(5)],
      i64: ['I64', [2], [-(2 ** 53), 3]],
      i32: ['I32', [2], [-5, 7]],
      u8: ['U8', [2], [0, 255]],
      bool: ['BOOL', [2], [1, 0]],
      scalar: ['F32', [], [2.5]],
      empty: ['F32', [0, 3], []],
      transposed: [
        'F32',
        [6, 4],
        Array.from({ length: 24 }, (_, i) => base[(i % 4) * 6 + Math.floor(i / 4)]!),
      ],
      row: ['F32', [6], base.slice(6, 12)],
      columns: ['F32', [4, 3], base.filter((_, i) => i % 2 === 0)],
      expanded: ['F32', [2, 3], [1.5, 1.5, 1.5, 2.5, 2.5, 2.5]],
      parameter: ['F32', [3], quarters(3)],
    };
    await using checkpoint = await openCheckpoint(fixture('plain.pth'));
    expect([...checkpoint.tensors.keys()]).toEqual(Object.keys(expected));
    for (const [name, [dtype, shape, numbers]] of Object.entries(expected)) {
      const entry = checkpoint.tensors.get(name)!;
      expect([name, entry.dtype, entry.shape]).toEqual([name, dtype, shape]);
      expect([name, ...(await entry.read())]).toEqual([name, ...numbers]);
    }
  });

  it('tells where values lie in the file, for all but gathered views', async () => {
    const { readFile } = await import('node:fs/promises');
    const file = await readFile(fixture('plain.pth'));
    await using checkpoint = await openCheckpoint(fixture('plain.pth'));
    const gathered: string[] = [];
    for (const { name, offset, byteLength, readBytes } of checkpoint.tensors.values()) {
      if (offset === undefined) gathered.push(name);
      else
        expect(new Uint8Array(file.subarray(offset, offset + byteLength)), name).toEqual(await readBytes());
    }
    expect(gathered).toEqual(['transposed', 'columns', 'expanded']);
  });

  it('yields the state dict of an mmengine checkpoint, whatever else it holds', async () => {
    await using checkpoint = await openCheckpoint(fixture('mmengine.pth'));
    expect([...checkpoint.tensors.keys()]).toEqual(['0.weight', '0.bias', '1.weight', '1.bias']);
    expect([...(await checkpoint.tensors.get('0.weight')!.read())]).toEqual(quarters(6));
    expect([...(await checkpoint.tensors.get('1.bias')!.read())]).toEqual(quarters(2).map((x) => x + 3));
    expect([...checkpoint.tensors.values()].every(({ offset }) => offset! % 4 === 0)).toBe(true);
  });
});

describe('layouts', () => {
  const inside = (key: string) =>
    pickleStateDict(new Pickler().dict().mark().text('epoch').int(3).text(key), [w]).setItems().stop();

  it.each(['state_dict', 'model'])('reads {%s: …}', async (key) => {
    expect(await values(torchArchive(inside(key), { 0: floatBytes(0, 1, 2, 3, 4, 5) }), 'w')).toEqual([
      0, 1, 2, 3, 4, 5,
    ]);
  });

  it('reads deflated and ZIP64 archives alike', async () => {
    for (const options of [{ deflate: true }, { zip64: true }, { folder: 'other name' }, {}]) {
      expect(await values(smallCheckpoint(options), 'w')).toEqual([0, 1, 2, 3, 4, 5]);
    }
    await using deflated = await openCheckpoint(smallCheckpoint({ deflate: true }));
    expect(deflated.tensors.get('w')!.offset).toBeUndefined();
  });

  it('shares storages between tensors', async () => {
    const tensors = [w, { ...w, name: 'v', shape: [3], offset: 3 }];
    const bytes = torchArchive(pickleStateDict(new Pickler(), tensors).stop(), {
      0: floatBytes(0, 1, 2, 3, 4, 5),
    });
    expect(await values(bytes, 'v')).toEqual([3, 4, 5]);
    expect(await values(bytes, 'w')).toEqual([0, 1, 2, 3, 4, 5]);
  });

  it('unpacks a storage once for all tensors that are views of it', async () => {
    const elements = 1 << 22;
    const tensors = Array.from({ length: 400 }, (_, i) => ({
      name: `t${i}`,
      shape: [2],
      storage: '0',
      elements,
      offset: i,
    }));
    const storage = new Uint8Array(4 * elements);
    storage.set(floatBytes(...Array.from({ length: 500 }, (_, i) => i)));
    const bytes = torchArchive(
      pickleStateDict(new Pickler(), tensors).stop(),
      { 0: storage },
      { deflate: true },
    );
    await using checkpoint = await openCheckpoint(bytes);
    const begin = performance.now();
    for (const [i, { name }] of tensors.entries())
      expect([...(await checkpoint.tensors.get(name)!.read())]).toEqual([i, i + 1]);
    // Of 16 MB each, 400 times would be half a minute or more.
    expect(performance.now() - begin).toBeLessThan(5000);
  });

  it('remembers what is no tensor and goes on', async () => {
    const pickler = new Pickler().dict().mark();
    pickleTensor(pickler.text('w'), w);
    pickler.text('evil').global('os', 'system').mark().text('id').tuple().reduce();
    pickler.text('epoch').int(3).text('name').none();
    await using checkpoint = await openCheckpoint(
      torchArchive(pickler.setItems().stop(), { 0: floatBytes(0, 1, 2, 3, 4, 5) }),
    );
    expect([...checkpoint.tensors.keys()]).toEqual(['w']);
    expect(Object.fromEntries(checkpoint.skipped)).toEqual({
      evil: 'a call of os.system',
      epoch: 'a number',
      name: 'None',
    });
  });

  it('strips the prefixes of wrappers and maps the names of SAM', async () => {
    const tensor = { ...w, name: 'module.prompt_encoder.point_embeddings.0.weight' };
    await using checkpoint = await openCheckpoint(oneTensor(tensor));
    expect(checkpoint.tensors.get('neck.point_embeds.0.weight')!.officialName).toBe(
      'prompt_encoder.point_embeddings.0.weight',
    );
  });
});

describe('rejected', () => {
  /** Half a megabyte that deflate cannot shrink. */
  const noise = new Uint8Array(initialTensor('noise', [1 << 17]).buffer);
  const hidden = (inner: (p: Pickler) => Pickler) => {
    const pickler = new Pickler().dict().mark().text('w').global('torch._utils', '_rebuild_parameter').mark();
    return torchArchive(inner(pickler).bool(true).orderedDict().tuple().reduce().setItems().stop(), {
      0: floatBytes(1),
    });
  };
  const system = (p: Pickler) => p.global('posix', 'system').mark().text('id').tuple().reduce();
  const storageCall = () => {
    const p = new Pickler().dict().mark().text('w').global('torch._utils', '_rebuild_tensor_v2').mark();
    return torchArchive(
      system(p).int(0).ints([1]).ints([1]).bool(false).none().tuple().reduce().setItems().stop(),
      {},
    );
  };

  it.each<[string, Uint8Array, RegExp]>([
    [
      'a call in place of the state dict',
      torchArchive(system(new Pickler()).stop(), {}),
      /no state dict.*got a call of posix\.system/,
    ],
    [
      'a call in place of all tensors',
      torchArchive(system(new Pickler().dict().mark().text('w')).setItems().stop(), {}),
      /no tensors.*w: a call of posix\.system/,
    ],
    ['a call inside a parameter', hidden(system), /tensor w: a parameter without a tensor.*posix\.system/],
    [
      'a parameter in a parameter',
      hidden((p) => p.global('torch._utils', '_rebuild_parameter').mark().tuple().reduce()),
      /parameter without a tensor/,
    ],
    ['a call in place of a storage', storageCall(), /tensor w: its storage is none.*posix\.system/],
    ['a list', torchArchive(new Pickler().list().stop(), {}), /no state dict/],
    ['an empty dictionary', torchArchive(new Pickler().dict().stop(), {}), /no tensors.*an empty dictionary/],
    [
      'a storage of another type',
      oneTensor({ ...w, type: 'QInt8Storage' }),
      /unknown storage type.*torch\.QInt8Storage/,
    ],
    ['a storage type of a prototype', oneTensor({ ...w, type: 'constructor' }), /unknown storage type/],
    [
      'a storage that is not there',
      oneTensor({ ...w, storage: '../data.pkl' }),
      /storage \.\.\/data\.pkl is not in the file/,
    ],
    [
      'a storage of another size',
      oneTensor({ ...w, elements: 7 }),
      /another size; expected 28 bytes; got 24/,
    ],
    ['a view beyond its storage', oneTensor({ ...w, offset: 1 }), /beyond its storage/],
    ['strides beyond the storage', oneTensor({ ...w, strides: [4, 1] }), /beyond its storage/],
    ['strides that overflow', oneTensor({ ...w, strides: [2 ** 53 - 1, 2 ** 53 - 1] }), /beyond its storage/],
    ['a negative stride', oneTensor({ ...w, strides: [-3, 1], offset: 3 }), /sizes or strides are none/],
    ['a negative offset', oneTensor({ ...w, offset: -1 }), /offset, sizes or strides/],
    ['strides of another number', oneTensor({ ...w, strides: [1] }), /sizes or strides are none/],
    [
      'an expansion bomb',
      oneTensor({ ...w, shape: [1e5, 1e5], strides: [0, 0] }),
      /repeats its storage too often/,
    ],
    [
      'an expansion bomb that overflows',
      oneTensor({ ...w, shape: [2 ** 50, 2 ** 50], strides: [0, 0] }),
      /beyond its storage/,
    ],
    [
      'big-endian values',
      smallCheckpoint({ extra: [{ name: 'archive/byteorder', data: Buffer.from('big') }] }),
      /byte order; expected little; got big/,
    ],
    [
      'TorchScript',
      smallCheckpoint({ extra: [{ name: 'archive/constants.pkl', data: Buffer.from('') }] }),
      /TorchScript/,
    ],
    [
      'two pickles',
      smallCheckpoint({ extra: [{ name: 'b/data.pkl', data: Buffer.from('') }] }),
      /no PyTorch checkpoint/,
    ],
    ['some other archive', smallCheckpoint({ folder: 'a/b' }), /no PyTorch checkpoint/],
    [
      'two names that become one',
      torchArchive(
        pickleStateDict(new Pickler(), [
          { ...w, name: 'neck.x' },
          { ...w, name: 'module.neck.x' },
        ]).stop(),
        { 0: floatBytes(0, 1, 2, 3, 4, 5) },
      ),
      /two tensors have one name/,
    ],
    [
      'a pickle beyond its bound',
      writeZip([{ name: 'a/data.pkl', data: noise, deflate: true, size: (256 << 20) + 1 }]),
      /the pickle is too large/,
    ],
    [
      'the old format',
      Uint8Array.from([0x80, 2, 0x8a, 10, 0x6c, 0xfc, 0x9c, 0x46, 0xf9, 0x20, 0x6a, 0xa8, 0x50, 0x19, 0x2e]),
      /before 1\.6.*torch\.save\(torch\.load/,
    ],
    ['text', Buffer.from('<!DOCTYPE html>'), /no weights file/],
    ['an empty file', new Uint8Array(0), /an empty file/],
  ])('%s', async (_, bytes, message) => {
    const error = await rejection(openCheckpoint(bytes));
    expect(error.code).toBe('ERR_WEIGHTS');
    expect(error.message).toMatch(message);
  });

  it('values with a wrong checksum, once they are read', async () => {
    const bytes = smallCheckpoint();
    await using good = await openCheckpoint(bytes);
    const { offset, byteLength } = good.tensors.get('w')!;
    bytes[offset! + byteLength - 1]! ^= 1;
    await using damaged = await openCheckpoint(bytes);
    expect((await rejection(damaged.tensors.get('w')!.read())).message).toMatch(
      /archive\/data\/0 is damaged: its CRC-32/,
    );
  });

  it('a file cut at any byte', async () => {
    const whole = smallCheckpoint({ align: 4 });
    for (let length = 0; length < whole.length; length++) {
      expect((await rejection(openCheckpoint(whole.subarray(0, length)))).code).toBe('ERR_WEIGHTS');
    }
  });
});
