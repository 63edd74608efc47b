import { readFileSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HrsamError } from '../../lib/errors.js';
import { openCheckpoint } from '../../lib/weights/checkpoint.js';
import { readPickle } from '../../lib/weights/pickle.js';
import { encodeSafetensors } from '../support/safetensors.js';
import { fuzzRuns } from './support/expect.js';
import { Pickler } from './support/pickle_writer.js';
import { floatBytes, pickleStateDict, smallCheckpoint, torchArchive } from './support/torch_writer.js';

/** Opens a file and reads all it has; anything but success or an HrsamError fails the test. */
const exercise = async (bytes: Uint8Array): Promise<void> => {
  try {
    const checkpoint = await openCheckpoint(bytes);
    for (const entry of checkpoint.tensors.values()) {
      const values = await entry.read();
      expect(values.length).toBe(entry.shape.reduce((a, b) => a * b, 1));
    }
  } catch (error) {
    expect(error).toBeInstanceOf(HrsamError);
  }
};

type Mutation = (bytes: Uint8Array) => Uint8Array;

const place = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });
const interesting = fc.constantFrom(0, 1, 0x2e, 0x7f, 0x80, 0xff, 0x7b, 0x22, 0x28, 0x52, 0x62);

const mutation: fc.Arbitrary<Mutation> = fc.oneof(
  fc.tuple(place, fc.oneof(interesting, fc.integer({ min: 0, max: 255 }))).map(
    ([p, value]): Mutation =>
      (bytes) => {
        const out = bytes.slice();
        if (out.length) out[Math.floor(p * out.length)] = value;
        return out;
      },
  ),
  fc.tuple(place, place).map(
    ([p, q]): Mutation =>
      (bytes) => {
        const [from, to] = [p, q].map((x) => Math.floor(x * bytes.length)).sort((a, b) => a - b) as [
          number,
          number,
        ];
        return Uint8Array.from([...bytes.subarray(0, from), ...bytes.subarray(to)]);
      },
  ),
  fc.tuple(place, fc.uint8Array({ maxLength: 12 })).map(
    ([p, insert]): Mutation =>
      (bytes) => {
        const at = Math.floor(p * bytes.length);
        return Uint8Array.from([...bytes.subarray(0, at), ...insert, ...bytes.subarray(at)]);
      },
  ),
  fc.tuple(place, fc.constantFrom(2, 4, 8), fc.bigInt({ min: 0n, max: 2n ** 64n - 1n })).map(
    ([p, width, value]): Mutation =>
      (bytes) => {
        const out = bytes.slice();
        const at = Math.floor(p * Math.max(0, out.length - width));
        for (let i = 0; i < width && at + i < out.length; i++)
          out[at + i] = Number((value >> BigInt(8 * i)) & 0xffn);
        return out;
      },
  ),
  fc.tuple(place, place).map(
    ([p, q]): Mutation =>
      (bytes) => {
        const out = bytes.slice();
        const [from, to] = [Math.floor(p * out.length), Math.floor(q * out.length)];
        out.copyWithin(to, from, from + 40);
        return out;
      },
  ),
);

const seeds: [string, () => Promise<Uint8Array> | Uint8Array][] = [
  [
    'safetensors',
    () =>
      encodeSafetensors(
        [
          { name: 'backbone.a', dtype: 'F32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
          { name: 'b', dtype: 'BF16', shape: [3], data: Uint16Array.of(1, 2, 3) },
          { name: 'c', dtype: 'I64', shape: [0], data: new BigInt64Array(0) },
        ],
        { metadata: [['key', 'value']] },
      ),
  ],
  ['a stored checkpoint', () => smallCheckpoint({ align: 4 })],
  ['a deflated checkpoint', () => smallCheckpoint({ align: 4, deflate: true })],
  ['a ZIP64 checkpoint', () => smallCheckpoint({ align: 4, zip64: true })],
  [
    'a file of PyTorch',
    () => new Uint8Array(readFileSync(new URL('../fixtures/weights/plain.pth', import.meta.url))),
  ],
  [
    'a file like mmengine',
    () => new Uint8Array(readFileSync(new URL('../fixtures/weights/mmengine.pth', import.meta.url))),
  ],
];

describe('mutated files never crash, hang or end in another error', () => {
  it.each(seeds)('%s', { timeout: 24 * 3600_000 }, async (_, seed) => {
    const bytes = await seed();
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 5 }), async (mutations) => {
        await exercise(mutations.reduce((current, mutate) => mutate(current), bytes));
      }),
      { numRuns: fuzzRuns(300) },
    );
  });

  it('pickles whose archive is sound', { timeout: 24 * 3600_000 }, async () => {
    const tensors = [
      { name: 'neck.a', shape: [2, 3], storage: '0', elements: 6 },
      { name: 'neck.b', shape: [3, 2], strides: [1, 3], storage: '0', elements: 6 },
    ];
    const pickle = pickleStateDict(new Pickler().dict().mark().text('state_dict'), tensors).setItems().stop();
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
        const mutated = mutations.reduce((current, mutate) => mutate(current), pickle);
        await exercise(torchArchive(mutated, { 0: floatBytes(0, 1, 2, 3, 4, 5), 1: floatBytes(0) }));
      }),
      { numRuns: fuzzRuns(1000) },
    );
  });

  it('headers whose length is right', { timeout: 24 * 3600_000 }, async () => {
    const sound = await encodeSafetensors([
      { name: 'a', dtype: 'F32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) },
      { name: 'b', dtype: 'F16', shape: [3], data: Uint16Array.of(1, 2, 3) },
    ]);
    const [header, data] = [sound.subarray(8, -22), sound.subarray(-22)];
    await fc.assert(
      fc.asyncProperty(fc.array(mutation, { minLength: 1, maxLength: 3 }), async (mutations) => {
        const mutated = mutations.reduce((current, mutate) => mutate(current), header);
        const length = new Uint8Array(BigUint64Array.of(BigInt(mutated.length)).buffer);
        await exercise(Uint8Array.from([...length, ...mutated, ...data]));
      }),
      { numRuns: fuzzRuns(1000) },
    );
  });

  it('pickles of random opcodes', { timeout: 24 * 3600_000 }, () => {
    const opcodes = [
      ...Buffer.from(
        '\x80\x95(01N\x88\x89JKM\x8a\x8bGX\x8cUTCB)\x85\x86\x87t]lae}dsu\x8f\x90\x91qrh\x94j\x93R\x81\x92bQ.',
        'latin1',
      ),
    ];
    const byte = fc.oneof(
      { weight: 8, arbitrary: fc.constantFrom(...opcodes) },
      fc.integer({ min: 0, max: 3 }),
    );
    fc.assert(
      fc.property(fc.array(byte, { maxLength: 60 }), (bytes) => {
        try {
          readPickle(Uint8Array.from([...bytes, 0x2e]), 'file');
        } catch (error) {
          expect(error).toBeInstanceOf(HrsamError);
        }
      }),
      { numRuns: fuzzRuns(3000) },
    );
  });
});
