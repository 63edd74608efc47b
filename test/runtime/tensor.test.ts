import { describe, expect, it } from 'vitest';
import { Device } from '../../lib/runtime/device.js';
import type { DType } from '../../lib/runtime/dtype.js';
import type { TensorData } from '../../lib/runtime/tensor.js';
import { codeOf } from '../support/errors.js';

const cpu = Device.open('cpu');

describe('tensors', () => {
  it.each<[DType, TensorData]>([
    ['f32', Float32Array.of(1, -2.5, Number.NaN, Number.POSITIVE_INFINITY, 0, -0)],
    ['bf16', Uint16Array.of(0, 0x3f80, 0x7fc0, 0xff80, 1, 0xffff)],
    ['i32', Int32Array.of(0, -1, 2 ** 31 - 1, -(2 ** 31), 5, 6)],
    ['u8', Uint8Array.of(0, 1, 2, 253, 254, 255)],
  ])('keep %s as written', async (dtype, data) => {
    using tensor = cpu.tensor([2, 3], dtype, data);
    expect(await tensor.data()).toEqual(data);
    expect(tensor.bytes).toBe(data.byteLength);
    expect(tensor.size).toBe(6);
  });

  it('are read in place on the CPU', async () => {
    using tensor = cpu.tensor([4], 'f32', Float32Array.of(1, 2, 3, 4));
    const first = await tensor.data();
    tensor.write(Float32Array.of(5, 6, 7, 8));
    expect([...first]).toEqual([5, 6, 7, 8]);
    expect((await tensor.data()).buffer).toBe(first.buffer);
  });

  it('leave arrays that were taken from them valid', async () => {
    const tensor = cpu.tensor([100_000], 'i32', new Int32Array(100_000).fill(7));
    const data = await tensor.data();
    tensor.dispose();
    using other = cpu.tensor([100_000], 'i32', new Int32Array(100_000).fill(9));
    expect(data.every((value) => value === 7)).toBe(true);
    expect(other.disposed).toBe(false);
  });

  it.runIf('transfer' in ArrayBuffer.prototype)('say so when their memory was transferred', async () => {
    const tensor = Device.open('cpu').tensor([2], 'f32', new Float32Array(2));
    ((await tensor.data()).buffer as unknown as { transfer(): void }).transfer();
    await expect(tensor.data()).rejects.toMatchObject({ code: 'ERR_DISPOSED', where: '[2]' });
    tensor.dispose();
  });

  it('may be empty or a single number', async () => {
    using empty = cpu.tensor([0, 5], 'f32', new Float32Array(0));
    expect((await empty.data()).length).toBe(0);
    using scalar = cpu.tensor([], 'f32', Float32Array.of(3));
    expect([...(await scalar.data())]).toEqual([3]);
  });

  it('are disposed once, however often one asks', async () => {
    const tensor = cpu.tensor([2], 'f32');
    const before = cpu.memory().buffers;
    tensor.dispose();
    tensor.dispose();
    tensor[Symbol.dispose]();
    expect(cpu.memory().buffers).toBe(before - 8);
    expect(tensor.disposed).toBe(true);
    expect(await codeOf(() => tensor.data())).toBe('ERR_DISPOSED');
    expect(await codeOf(() => tensor.write(new Float32Array(2)))).toBe('ERR_DISPOSED');
  });

  it('take only data of their type and length', async () => {
    using tensor = cpu.tensor([2, 2], 'f32');
    for (const data of [
      new Float32Array(3),
      new Float32Array(5),
      new Int32Array(4),
      new Float64Array(4),
      null,
      [1, 2, 3, 4],
    ])
      expect(await codeOf(() => tensor.write(data as TensorData))).toBe('ERR_SHAPE');
    expect(await codeOf(() => cpu.tensor([3], 'u8', new Uint8Array(4)))).toBe('ERR_SHAPE');
  });

  it('take the first elements alone', async () => {
    using tensor = cpu.tensor([2, 2], 'f32', Float32Array.of(1, 2, 3, 4));
    tensor.writeStart(Float32Array.of(7, 8));
    expect([...(await tensor.data())]).toEqual([7, 8, 3, 4]);
    for (const data of [new Float32Array(5), new Int32Array(2), null])
      expect(await codeOf(() => tensor.writeStart(data as TensorData))).toBe('ERR_SHAPE');
  });

  it.each([[[-1]], [[2.5]], [[Number.NaN]], [[2, -3]], [[Number.POSITIVE_INFINITY]]])(
    'refuses the shape %j',
    async (shape) => {
      expect(await codeOf(() => cpu.tensor(shape, 'f32'))).toBe('ERR_SHAPE');
    },
  );

  it('takes data that other threads share', async () => {
    const shared = new Float32Array(new SharedArrayBuffer(8));
    shared.set([1, 2]);
    using tensor = cpu.tensor([2], 'f32', shared);
    expect([...(await tensor.data())]).toEqual([1, 2]);
  });

  it('refuses an unknown type', async () => {
    expect(await codeOf(() => cpu.tensor([2], 'f16' as DType))).toBe('ERR_ARGUMENT');
  });

  it.each([[[2 ** 40]], [[2 ** 31, 2 ** 31]], [[1e15]], [[2 ** 53, 2 ** 53, 2 ** 53]], [[1e300, 1e300]]])(
    'has no memory for %j, and goes on',
    async (shape) => {
      expect(await codeOf(() => cpu.tensor(shape, 'f32'))).toBe('ERR_OUT_OF_MEMORY');
      using tensor = cpu.tensor([1], 'f32', Float32Array.of(1));
      expect([...(await tensor.data())]).toEqual([1]);
    },
  );
});
