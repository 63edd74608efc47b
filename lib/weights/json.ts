import { HrsamError } from '../errors.js';

export type StrictJson = string | number | boolean | null | StrictJson[] | Map<string, StrictJson>;

const NUMBER = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
const WORD = /true|false|null/y;
const LONE_SURROGATE = /\p{Surrogate}/u;

/** Deeper than any header needs; a bound for the recursion on hostile files. */
const MAX_DEPTH = 8;

/** Ten values a tensor: a bound for the memory that a hostile header of 100 MB can ask for. */
const MAX_VALUES = 2_000_000;

/**
 * JSON as headers of untrusted files need it: a key that comes twice is an error (`JSON.parse` silently keeps the last),
 * objects are Maps (so `__proto__` is a name like any other), numbers must be integers that a double holds exactly,
 * strings must be well-formed Unicode, nesting and the number of values are bounded.
 * @param where what errors name
 * @throws HrsamError ERR_WEIGHTS
 */
export const parseStrictJson = (text: string, where: string): StrictJson => {
  let at = 0;
  let values = 0;

  const fail = (summary: string, actual?: string): never => {
    throw new HrsamError('ERR_WEIGHTS', `${summary} at character ${at} of the JSON`, { where, actual });
  };

  const take = (pattern: RegExp): string | undefined => {
    pattern.lastIndex = at;
    const match = pattern.exec(text)?.[0];
    if (match !== undefined) at += match.length;
    return match;
  };

  const skipSpace = (): void => {
    while (' \t\n\r'.includes(text.charAt(at) || '-')) at++;
  };

  const punctuation = (...allowed: string[]): string => {
    skipSpace();
    const character = text[at];
    if (character === undefined) return fail('the JSON ends too early');
    if (!allowed.includes(character)) return fail(`expected ${allowed.join(' or ')}`, character);
    at++;
    return character;
  };

  const string = (): string => {
    skipSpace();
    if (text[at] !== '"') return fail('expected a string', text.slice(at, at + 20));
    // by hand, not by a regular expression: those run out of stack on strings of many megabytes
    let end = at + 1;
    while (end < text.length && text[end] !== '"') end += text[end] === '\\' ? 2 : 1;
    if (end >= text.length) return fail('a string that does not end');
    const literal = text.slice(at, end + 1);
    let value = '';
    try {
      value = JSON.parse(literal) as string;
    } catch {
      return fail('not a JSON string', literal.slice(0, 40));
    }
    if (LONE_SURROGATE.test(value)) return fail('a string that is not well-formed Unicode');
    at = end + 1;
    return value;
  };

  const number = (): number => {
    const literal = take(NUMBER);
    if (literal === undefined) return fail('not a JSON value', text.slice(at, at + 20));
    if (!/^-?\d+$/.test(literal) || !Number.isSafeInteger(Number(literal))) {
      return fail('a number that is not an integer of at most 53 bits', literal.slice(0, 40));
    }
    return Number(literal);
  };

  const object = (depth: number): Map<string, StrictJson> => {
    const result = new Map<string, StrictJson>();
    skipSpace();
    if (text[at] === '}') {
      at++;
      return result;
    }
    do {
      const key = string();
      if (result.has(key)) return fail('a key that comes twice', key);
      punctuation(':');
      result.set(key, value(depth + 1));
    } while (punctuation(',', '}') === ',');
    return result;
  };

  const array = (depth: number): StrictJson[] => {
    const result: StrictJson[] = [];
    skipSpace();
    if (text[at] === ']') {
      at++;
      return result;
    }
    do result.push(value(depth + 1));
    while (punctuation(',', ']') === ',');
    return result;
  };

  const value = (depth: number): StrictJson => {
    if (depth > MAX_DEPTH) return fail(`nesting deeper than ${MAX_DEPTH}`);
    if (++values > MAX_VALUES) return fail(`more than ${MAX_VALUES} values`);
    skipSpace();
    const first = text[at];
    if (first === '{' || first === '[') {
      at++;
      return first === '{' ? object(depth) : array(depth);
    }
    if (first === '"') return string();
    const word = take(WORD);
    if (word !== undefined) return word === 'null' ? null : word === 'true';
    if (first === undefined) return fail('the JSON ends too early');
    return number();
  };

  const result = value(0);
  skipSpace();
  if (at < text.length) return fail('something follows the JSON', text.slice(at, at + 20));
  return result;
};
