/**
 * Every error the package throws on purpose. One table: the code names the kind, the message says where it happened,
 * what was expected and what came. Catch `HrsamError` and switch on `code`.
 */
export const ERROR_CODES = {
  /** A tensor, image or embedding of the wrong shape. */
  ERR_SHAPE: 'shape',
  /** An argument of the wrong type or out of its range. */
  ERR_ARGUMENT: 'argument',
  /** A prompt (points, labels, boxes, mask) that cannot be used: not finite, outside the picture, wrong counts. */
  ERR_PROMPT: 'prompt',
  /** A picture that cannot be read: unknown format, truncated, too large. */
  ERR_IMAGE: 'image',
  /** A weights file that is corrupt, hostile or not of a supported layout. */
  ERR_WEIGHTS: 'weights file',
  /** A configuration that is incomplete, contradictory or does not fit the weights. */
  ERR_CONFIG: 'configuration',
  /** A file that cannot be opened, read or written. */
  ERR_FILE: 'file',
  /** An unknown device, or one that cannot be used here. */
  ERR_DEVICE: 'device',
  /** A GPU that failed in the middle of work: the process cannot use it any more and is to be restarted. */
  ERR_DEVICE_LOST: 'device lost',
  /** Memory could not be had; the model and other requests go on. */
  ERR_OUT_OF_MEMORY: 'out of memory',
  /** Use of a tensor, image or model after it was disposed. */
  ERR_DISPOSED: 'disposed',
  /** A server has as many requests as it takes; a later one may succeed. */
  ERR_BUSY: 'busy',
  /** The caller's AbortSignal fired before the work was done. */
  ERR_ABORTED: 'aborted',
  /** A training whose loss or parameters are no longer finite. */
  ERR_DIVERGED: 'training',
  /** The native addon is missing or does not load. */
  ERR_ADDON: 'native addon',
  /** A defect of this package: please report it. */
  ERR_INTERNAL: 'internal',
} as const;

/** What kind of error it is. */
export type ErrorCode = keyof typeof ERROR_CODES;

export interface ErrorDetails {
  /** What was being looked at: a file, a tensor, a layer, an option. */
  where?: string;
  /** What would have been right. */
  expected?: unknown;
  /** What came instead. */
  actual?: unknown;
  cause?: unknown;
}

const LONGEST = 300;
const DEEPEST = 3;

const cut = (text: string): string => (text.length > LONGEST ? `${text.slice(0, LONGEST)}…` : text);

const list = (items: readonly unknown[], most: number, text: (item: unknown) => string): string =>
  `${Array.from(items.slice(0, most), text).join(', ')}${items.length > most ? ', …' : ''}`;

/** Whatever a caller passed, in a few words: this never throws. */
export const show = (value: unknown, depth = 0): string => {
  try {
    return cut(words(value, depth));
  } catch {
    return 'a value that cannot be read';
  }
};

/** A text, or a list of them, is the package's own. */
function whole(expected: unknown): string {
  if (typeof expected === 'string') return expected;
  if (Array.isArray(expected) && expected.every((one) => typeof one === 'string'))
    return `[${expected.join(', ')}]`;
  return show(expected);
}

function words(value: unknown, depth: number): string {
  if (typeof value === 'function') return `function ${value.name}`;
  // Told apart from a number, and from nothing at all.
  if (typeof value === 'string' && Number.isFinite(Number(value))) return JSON.stringify(value);
  if (typeof value !== 'object' || value === null) return String(value);
  if (Array.isArray(value))
    return depth < DEEPEST ? `[${list(value, 16, (item) => show(item, depth + 1))}]` : '[…]';
  const name: unknown = Object.getPrototypeOf(value)?.constructor?.name;
  if (ArrayBuffer.isView(value)) return `${name}(${(value as Uint8Array).length ?? value.byteLength})`;
  // A URL, a date, an error say themselves what they are.
  const own = value.toString;
  if (typeof own === 'function' && own !== Object.prototype.toString) return String(value);
  return `${name === undefined || name === 'Object' ? '' : `${name} `}{${list(Object.keys(value), 8, String)}}`;
}

/** The first of these, and how many more there are. */
export const firstOf = (items: readonly string[], most = 8, separator = ', '): string =>
  items.slice(0, most).join(separator) + (items.length > most ? ` and ${items.length - most} more` : '');

/** What the package throws on purpose: switch on `code`; `message` says all of the rest in a sentence. */
export class HrsamError extends Error {
  /** Always this: it survives where `instanceof` does not, between two copies of the package. */
  override readonly name = 'HrsamError';
  /** What kind of error it is: each code's meaning is beside it. */
  readonly code: ErrorCode;
  /** What was being looked at: a file, a tensor, a layer, an option. */
  declare readonly where?: string;
  /** What would have been right. */
  declare readonly expected?: unknown;
  /** What came instead. */
  declare readonly actual?: unknown;

  constructor(code: ErrorCode, summary: string, details: ErrorDetails = {}) {
    const { where, expected, actual, cause } = details;
    const parts = [where === undefined ? summary : `${where || '""'}: ${summary}`];
    if (expected !== undefined) parts.push(`expected ${whole(expected)}`);
    if (actual !== undefined) parts.push(`got ${show(actual)}`);
    super(parts.join('; '), cause === undefined ? undefined : { cause });
    this.code = code;
    // Not where there is nothing to tell: Node prints every field of an error that nobody caught.
    if (where !== undefined) this.where = where;
    if (expected !== undefined) this.expected = expected;
    if (actual !== undefined) this.actual = actual;
  }
}
