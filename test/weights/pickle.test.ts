import { describe, expect, it } from 'vitest';
import { HrsamError } from '../../lib/errors.js';
import { Global, Inert, PersistentId, type Pickled, readPickle, Tuple } from '../../lib/weights/pickle.js';
import { Pickler } from './support/pickle_writer.js';

const read = (bytes: Uint8Array | number[]): Pickled => readPickle(Uint8Array.from(bytes), 'file');

const ascii = (text: string): number[] => [...Buffer.from(text, 'latin1')];

describe('readPickle', () => {
  it.each<[string, Pickler, Pickled]>([
    ['None', new Pickler().none(), null],
    ['a bool', new Pickler().bool(true), true],
    ['text', new Pickler().text('é'), 'é'],
    ['an integer', new Pickler().int(-5), -5],
    ['a long integer', new Pickler().long(-(2n ** 40n)), -(2 ** 40)],
    ['an integer beyond 53 bits', new Pickler().long(2n ** 60n), 2n ** 60n],
    ['a float', new Pickler().float(0.1), 0.1],
    ['a tuple', new Pickler().ints([1, 2]), new Tuple([1, 2])],
    ['a list', new Pickler().list().mark().int(1).none().appends(), [1, null]],
    [
      'a dictionary',
      new Pickler().dict().mark().text('__proto__').int(1).setItems(),
      new Map([['__proto__', 1]]),
    ],
    ['a global', new Pickler().global('os', 'system'), new Global('os', 'system')],
    ['a persistent id', new Pickler().text('x').persistentId(), new PersistentId('x')],
    ['a value recalled', new Pickler().mark().text('x').put(3).get(3).tuple(), new Tuple(['x', 'x'])],
  ])('reads %s', (_, pickler, value) => {
    expect(read(pickler.stop())).toEqual(value);
  });

  it('reads lists, dictionaries and pairs that are made at once, and new objects with keywords', () => {
    expect(read(ascii('(K\x01K\x02l.'))).toEqual([1, 2]);
    expect(read(ascii('(K\x01K\x02d.'))).toEqual(new Map([[1, 2]]));
    expect(read(ascii('K\x01K\x02\x86.'))).toEqual(new Tuple([1, 2]));
    const made = read(ascii('ca\nb\n)}\x92.')) as Inert;
    expect([String(made.callable), made.args]).toEqual(['a.b', new Tuple([new Tuple([]), new Map()])]);
  });

  it('reads protocols 3 to 5', () => {
    // 4: frame, short text, memoize, stack global, empty set, add items; 5: bytearray
    const bytes = [0x80, 4, 0x95, 9, 0, 0, 0, 0, 0, 0, 0, ...ascii('\x8c\x02os\x94\x8c\x04name\x93.')];
    expect(read(bytes)).toEqual(new Global('os', 'name'));
    expect(read([0x80, 4, 0x8f, 0x28, 0x4b, 1, 0x4b, 2, 0x90, 0x2e])).toEqual(new Set([1, 2]));
    expect(read([0x80, 5, 0x96, 2, 0, 0, 0, 0, 0, 0, 0, 7, 8, 0x2e])).toEqual(Uint8Array.of(7, 8));
    expect(read([0x80, 3, 0x43, 1, 9, 0x2e])).toEqual(Uint8Array.of(9));
  });

  it('never calls: what would run stays a record', () => {
    const attack = new Pickler()
      .global('os', 'system')
      .mark()
      .text('touch /tmp/owned')
      .tuple()
      .reduce()
      .stop();
    const value = read(attack) as Inert;
    expect(value).toBeInstanceOf(Inert);
    expect(String(value.callable)).toBe('os.system');
    expect(value.args).toEqual(new Tuple(['touch /tmp/owned']));
    expect(String(value)).toBe('a call of os.system');
  });

  it('keeps state and items of objects that it does not know', () => {
    const value = read(
      new Pickler()
        .orderedDict()
        .mark()
        .text('a')
        .int(1)
        .setItems()
        .dict()
        .mark()
        .text('_m')
        .int(2)
        .setItems()
        .build()
        .stop(),
    ) as Inert;
    expect(value.entries).toEqual(new Map([['a', 1]]));
    expect(value.state).toEqual(new Map([['_m', 2]]));
  });

  it('survives values that contain themselves', () => {
    const value = read(new Pickler().list().put(0).mark().get(0).appends().stop()) as Pickled[];
    expect(value[0]).toBe(value);
  });

  it('shortens and cleans the names of globals in messages', () => {
    const name = String(new Global('a\u001b[31m', 'b'.repeat(1000)));
    expect(name).toMatch(/^a\?\[31m\.b+…$/);
    expect(name.length).toBeLessThan(110);
  });

  it.each<[string, number[], RegExp]>([
    ['nothing', [], /cut off/],
    ['no end', [0x80, 2, 0x4e], /cut off/],
    ['text that is cut off', [0x58, 255, 255, 255, 127, 65, 0x2e], /cut off/],
    ['text of 2^63 bytes', [0x8d, 255, 255, 255, 255, 255, 255, 255, 127, 0x2e], /cut off/],
    ['a name that is cut off', ascii('cos'), /cut off/],
    ['text that is not UTF-8', [0x58, 1, 0, 0, 0, 0xff, 0x2e], /not UTF-8/],
    ['the stop of an empty stack', [0x2e], /value that is not there/],
    ['values left over', [0x4e, 0x4e, 0x2e], /left over/],
    ['a mark as value', [0x28, 0x2e], /value that is not there/],
    ['a tuple without a mark', [0x4e, 0x74, 0x2e], /mark that is not there/],
    ['an item for None', [0x4e, 0x4e, 0x61, 0x2e], /appends to no list/],
    ['a key for a list', [0x5d, 0x4e, 0x4e, 0x73, 0x2e], /assigns to no dictionary/],
    ['a key without a value', [0x7d, 0x28, 0x4e, 0x75, 0x2e], /key without a value/],
    ['an element for a list', [0x5d, 0x28, 0x4e, 0x90, 0x2e], /adds to no set/],
    ['a state for a dictionary', [0x7d, 0x4e, 0x62, 0x2e], /state to no object/],
    ['a value never stored', [0x68, 7, 0x2e], /recalls value 7/],
    ['a global named by numbers', [0x4b, 1, 0x4b, 2, 0x93, 0x2e], /names a global by something/],
    ['an integer of a kilobyte', [0x8b, 0, 4, 0, 0, 0x2e], /too long/],
    ['the call of protocol 0', ascii('(S"x"\nios\nsystem\n.'), /opcode 0x53, which is not allowed/],
    ['INST', ascii('(ios\nsystem\n.'), /opcode 0x69/],
    ['OBJ', ascii('(cos\nsystem\no.'), /opcode 0x6f/],
    ['the extension registry', [0x82, 1, 0x2e], /opcode 0x82/],
    ['an out-of-band buffer', [0x97, 0x2e], /opcode 0x97/],
    ['an unknown opcode', [0xff, 0x2e], /opcode 0xff/],
  ])('rejects %s', (_, bytes, message) => {
    expect(() => read(bytes)).toThrow(HrsamError);
    expect(() => read(bytes)).toThrow(message);
    expect(() => read(bytes)).toThrow(/^file: .*byte \d+ of the pickle/);
  });

  it.each<[string, () => Uint8Array, RegExp]>([
    ['a stack of millions', () => new Uint8Array(2_000_000).fill(0x4e), /piles up/],
    ['marks by the million', () => new Uint8Array(2_000_000).fill(0x28), /piles up/],
    [
      'millions of remembered values',
      () => new Uint8Array(1_000_002).fill(0x94).fill(0x4e, 0, 1),
      /remembers too many/,
    ],
    // A megabyte of them, packed into a few kilobytes, would be a gigabyte of memory.
    ...[0x7d, 0x8f].map((opcode): [string, () => Uint8Array, RegExp] => [
      `tables by the million: 0x${opcode.toString(16)}`,
      () => new Uint8Array(900_000).fill(opcode),
      /too many tables/,
    ]),
    [
      'calls by the million',
      () => Uint8Array.from({ length: 2_400_000 }, (_, i) => [0x4e, 0x4e, 0x52, 0x30][i % 4]!),
      /too many tables/,
    ],
    [
      'steps without end',
      () => new Uint8Array(5_000_000).map((_, i) => (i % 2 ? 0x30 : 0x4e)),
      /too many steps/,
    ],
  ])('bounds %s', (_, bytes, message) => {
    expect(() => readPickle(bytes(), 'file')).toThrow(message);
  });

  it('holds a tuple of itself doubled a thousand times, as Python would', () => {
    const pickler = new Pickler().none();
    for (let i = 0; i < 1000; i++) pickler.put(0).get(0).raw(0x86);
    expect(read(pickler.stop())).toBeInstanceOf(Tuple);
  });

  it('takes a memo index of four billion without the memory for it', () => {
    expect(read([0x4b, 5, 0x72, 255, 255, 255, 255, 0x30, 0x6a, 255, 255, 255, 255, 0x2e])).toBe(5);
  });
});
