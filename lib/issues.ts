import { z } from 'zod';
import { type ErrorCode, firstOf, HrsamError, show } from './errors.js';

interface ParseDetails {
  /** What was being looked at, in the error. */
  where?: string;
  /** What the value itself is called, before the names of its fields. */
  root?: string;
}

/**
 * What a schema makes of a value.
 * @throws HrsamError `code`, with all that is wrong in lines like `encoder.depth: expected at least 1; got 0`
 */
export function parse<T extends z.ZodType>(
  schema: T,
  value: unknown,
  code: ErrorCode,
  { where, root = '' }: ParseDetails,
): z.output<T> {
  const result = schema.safeParse(value, { error: describe });
  if (result.success) return result.data;
  const lines = result.error.issues.map(({ path, message }) => {
    const at = path.reduce<string>(
      (text, step) => text + (typeof step === 'number' ? `[${step}]` : `.${String(step)}`),
      root,
    );
    return at === '' ? message : `${at.replace(/^\./, '')}: ${message}`;
  });
  throw new HrsamError(code, firstOf(lines, 8, '; '), { where });
}

const TYPES: Record<string, string> = {
  array: 'a list',
  tuple: 'a list',
  object: 'an object',
  record: 'an object',
  string: 'a text',
  number: 'a number',
  int: 'a whole number',
  boolean: 'true or false',
};

/** In the words of all other errors. */
function describe(issue: z.core.$ZodRawIssue): string {
  if (issue.code === 'unrecognized_keys') {
    const { inst, keys } = issue;
    const known = inst instanceof z.ZodObject ? Object.keys(inst.shape) : [];
    return `an unknown field: ${firstOf(keys)}; expected ${known.join(', ')}`;
  }
  if (issue.input === undefined) return 'is missing';
  if (issue.code === 'invalid_union' && Array.isArray(issue.options)) {
    const { discriminator = '', options, input } = issue;
    return `expected ${options.map(String).join(' or ')}; got ${show((input as Record<string, unknown>)[discriminator])}`;
  }
  const input = issue.origin === 'array' && Array.isArray(issue.input) ? issue.input.length : issue.input;
  return `expected ${expected(issue)}; got ${show(input)}`;
}

function expected(issue: z.core.$ZodRawIssue): string {
  switch (issue.code) {
    case 'invalid_type':
      return TYPES[issue.expected] ?? issue.expected;
    case 'invalid_value':
      return issue.values.map(String).join(' or ');
    case 'too_big':
      return bound(issue, issue.inclusive ? 'at most' : 'less than', issue.maximum);
    case 'too_small':
      return bound(issue, issue.inclusive ? 'at least' : 'more than', issue.minimum);
    default:
      return 'another value';
  }
}

const UNITS: Record<string, string> = { array: ' items', string: ' characters' };

const bound = (
  issue: z.core.$ZodRawIssue<z.core.$ZodIssueTooBig | z.core.$ZodIssueTooSmall>,
  than: string,
  limit: number | bigint,
): string => `${issue.exact ? 'exactly' : than} ${limit}${UNITS[issue.origin] ?? ''}`;
