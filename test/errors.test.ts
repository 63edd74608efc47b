import { describe, expect, it } from 'vitest';
import { HrsamError } from '../lib/errors.js';

it('an error has the fields that tell something, and no others', () => {
  expect(Object.keys(new HrsamError('ERR_DISPOSED', 'the model was disposed'))).toEqual(['name', 'code']);
  const full = new HrsamError('ERR_ARGUMENT', 'size', { where: 'encode', expected: 16, actual: 0 });
  expect(full).toMatchObject({ where: 'encode', expected: 16, actual: 0 });
  expect(full.message).toBe('encode: size; expected 16; got 0');
});

it('an empty name is shown', () => {
  expect(new HrsamError('ERR_FILE', 'does not exist', { where: '' }).message).toBe('"": does not exist');
});

describe('what came, in a message', () => {
  const got = (actual: unknown) => new HrsamError('ERR_ARGUMENT', 'x', { actual }).message;
  const cyclic: unknown[] = [1];
  cyclic.push(cyclic);
  const throwing = new Proxy(
    {},
    {
      get() {
        throw new Error('no');
      },
    },
  );

  it.each<[string, unknown, string]>([
    ['text', 'a', 'a'],
    ['nothing', '', '""'],
    ['a number as text', ['16', 16], '["16", 16]'],
    ['null', null, 'null'],
    ['a symbol', Symbol('s'), 'Symbol(s)'],
    ['a list', [1, 'a', null, undefined, [2]], '[1, a, null, undefined, [2]]'],
    ['a list of holes', new Array(2), '[undefined, undefined]'],
    ['a long list', Array(17).fill(1), `[${'1, '.repeat(16)}…]`],
    ['a list of itself', cyclic, '[1, [1, [1, […]]]]'],
    ['an object', { x: 1, y: 2 }, '{x, y}'],
    ['one without a prototype', Object.create(null), '{}'],
    ['one of many fields', { ...Array(9).fill(0) }, '{0, 1, 2, 3, 4, 5, 6, 7, …}'],
    [
      'one of a class',
      new (class Point {
        x = 1;
      })(),
      'Point {x}',
    ],
    ['a map', new Map(), 'Map {}'],
    ['an address', new URL('file:///a'), 'file:///a'],
    ['an error', new TypeError('t'), 'TypeError: t'],
    ['an array of numbers', new Float32Array(1e6), 'Float32Array(1000000)'],
    ['bytes', Buffer.alloc(5), 'Buffer(5)'],
    ['a view', new DataView(new ArrayBuffer(3)), 'DataView(3)'],
    ['a function', function f() {}, 'function f'],
    ['what throws', throwing, 'a value that cannot be read'],
    ['what throws in a list', [1, throwing], '[1, a value that cannot be read]'],
    [
      'what throws as text',
      {
        toString: () => {
          throw new Error('no');
        },
      },
      'a value that cannot be read',
    ],
    ['what gives no text', { toString: () => ({}) }, 'a value that cannot be read'],
  ])('%s', (_, value, text) => {
    expect(got(value)).toBe(`x; got ${text}`);
  });

  it('is whole where it is what was expected', () => {
    const names = Array.from({ length: 40 }, (_, i) => `a setting that is called ${i}`);
    const message = (expected: unknown) => new HrsamError('ERR_ARGUMENT', 'x', { expected }).message;
    expect(message(names.join())).toBe(`x; expected ${names.join()}`);
    expect(message(names)).toBe(`x; expected [${names.join(', ')}]`);
    expect(message(Array(1000).fill(1)).length).toBeLessThan(320);
  });

  it('is never long', () => {
    const long = 'a'.repeat(1e6);
    for (const value of [
      long,
      [long, [long]],
      { [long]: 1 },
      10n ** 5000n,
      Array(16).fill(Array(16).fill(Array(16).fill(long))),
    ])
      expect(got(value).length).toBeLessThan(320);
  });
});
