import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { HrsamError } from '../../lib/errors.js';
import { parseStrictJson, type StrictJson } from '../../lib/weights/json.js';
import { fuzzRuns } from './support/expect.js';

const plain = (value: StrictJson): unknown => {
  if (value instanceof Map) return [...value].map(([key, inner]) => [key, plain(inner)]);
  return Array.isArray(value) ? value.map(plain) : value;
};

const entries = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(entries);
  if (typeof value !== 'object' || value === null) return value;
  return Object.entries(value).map(([key, inner]) => [key, entries(inner)]);
};

describe('parseStrictJson', () => {
  it('agrees with JSON.parse on what both accept', () => {
    const leaf = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.maxSafeInteger(),
      fc.boolean(),
      fc.constant(null),
    );
    const tree = fc.letrec((tie) => ({
      node: fc.oneof(
        { maxDepth: 4 },
        leaf,
        fc.array(tie('node')),
        fc.dictionary(fc.string(), tie('node'), { noNullPrototype: true }),
      ),
    })).node;
    fc.assert(
      fc.property(tree, fc.constantFrom(undefined, 2, '\t'), (value, indent) => {
        const text = JSON.stringify(value, null, indent);
        expect(plain(parseStrictJson(text, 'x'))).toEqual(entries(JSON.parse(text)));
      }),
      { numRuns: fuzzRuns(300) },
    );
  });

  it('rejects with HrsamError, or accepts what JSON.parse accepts, whatever the text', () => {
    const pieces = fc.constantFrom(
      '{',
      '}',
      '[',
      ']',
      ',',
      ':',
      '"',
      '"a"',
      '\\',
      '1',
      '-',
      '0',
      '.5',
      'e3',
      'true',
      'null',
      ' ',
      'é',
      '\u0000',
    );
    fc.assert(
      fc.property(fc.array(pieces, { maxLength: 12 }), (parts) => {
        const text = parts.join('');
        try {
          parseStrictJson(text, 'x');
        } catch (error) {
          expect(error).toBeInstanceOf(HrsamError);
          return;
        }
        expect(() => JSON.parse(text)).not.toThrow();
      }),
      { numRuns: fuzzRuns(2000) },
    );
  });

  it('takes names as they are, also those of prototypes', () => {
    const value = parseStrictJson('{"__proto__": 1, "constructor": 2, "toString": 3}', 'x') as Map<
      string,
      StrictJson
    >;
    expect([...value.keys()]).toEqual(['__proto__', 'constructor', 'toString']);
    expect(({} as Record<string, unknown>)['1']).toBeUndefined();
  });

  it.each([
    ['a key twice', '{"a": 1, "a": 2}', /a key that comes twice.*got a/],
    ['a key twice, escaped', '{"a": 1, "\\u0061": 2}', /twice/],
    ['a fraction', '[1.5]', /not an integer.*1\.5/],
    ['a float that is whole', '[1.0]', /not an integer/],
    ['an exponent', '[1e3]', /not an integer/],
    ['2^53', '[9007199254740992]', /not an integer/],
    ['a leading zero', '[01]', /expected , or \]/],
    ['a bare minus', '[-]', /not a JSON value/],
    ['NaN', '[NaN]', /not a JSON value.*NaN/],
    ['a trailing comma', '[1,]', /not a JSON value/],
    ['a trailing comma in an object', '{"a":1,}', /expected a string/],
    ['a missing colon', '{"a" 1}', /expected :/],
    ['a bare key', '{a: 1}', /expected a string/],
    ['text behind', '{} x', /something follows/],
    ['nothing', '', /ends too early/],
    ['an open object', '{"a":1', /ends too early/],
    ['an open string', '{"a', /a string that does not end/],
    ['a string that ends in a backslash', '["a\\', /does not end/],
    ['a control character', '["a\nb"]', /not a JSON string/],
    ['a bad escape', '["\\x41"]', /not a JSON string/],
    ['a lone surrogate', '["\\ud800"]', /well-formed Unicode/],
    ['nesting', '['.repeat(100_000), /nesting deeper/],
    ['nested objects', '{"a":'.repeat(100_000), /nesting deeper/],
  ])('rejects %s', (_, text, message) => {
    expect(() => parseStrictJson(text, 'file')).toThrow(HrsamError);
    expect(() => parseStrictJson(text, 'file')).toThrow(message);
    expect(() => parseStrictJson(text, 'file')).toThrow(/^file: /);
  });

  it('bounds the number of values', () => {
    const text = `[${'[],'.repeat(2_000_000)}1]`;
    expect(() => parseStrictJson(text, 'file')).toThrow(/more than 2000000 values/);
  });

  it('takes strings and blanks of many megabytes', () => {
    const long = 'x'.repeat(20_000_000);
    expect(parseStrictJson(`${' '.repeat(1_000_000)}"${long}"`, 'x')).toHaveLength(20_000_000);
  });
});
