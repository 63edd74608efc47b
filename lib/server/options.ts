import { HrsamError } from '../errors.js';
import type { LogEntry } from './metrics.js';

export interface ServerOptions {
  /** Bytes of encoded pictures that are kept. */
  memory?: number;
  /** Bytes of a picture's file. */
  pictureBytes?: number;
  /** Pixels of a picture, width · height: a small file may hold very many. */
  maxPixels?: number;
  /** The largest `size` that a picture may be encoded at. */
  maxSize?: number;
  /** Requests that compute or wait for it; further ones are turned away with 503. */
  requests?: number;
  /**
   * Pictures that are encoded together at most, of those that wait for the same size. A GPU has more to do at a time than
   * one small picture; a processor gains nothing.
   */
  batch?: number;
  /**
   * Whether answers are made again on the part of the picture around them where the picture's request does not say: see
   * `encode`. Each may take an encoding.
   */
  zoom?: boolean;
  /** The origin whose pages may use the server beside its own, as browsers send it, or `*`. */
  allowOrigin?: string;
  /** Is told of each request when it ended. */
  log?: (entry: LogEntry) => void;
}

/** Where nothing else is asked for. */
export const SERVER_DEFAULTS = {
  memory: 1e9,
  pictureBytes: 64e6,
  // More than cameras of 64 megapixels have. Decoded, three bytes each.
  maxPixels: 70e6,
  maxSize: 4096,
  requests: 64,
  batch: { cpu: 1, cuda: 8 },
};

/** What one request may ask for, and what is kept for later ones. */
export const SERVER_LIMITS = {
  /** Of a request: each takes as long as a prompt of its own. */
  boxes: 256,
  /** Of a prompt: each looks at all others, so that time grows with their square. */
  points: 1024,
  /** A picture of 64 × 64 clicks takes as long as 4096 requests. */
  pointsPerSide: 64,
  /** Masks of everything: each may have thousands of corners. */
  found: 1000,
  /** Answers of a picture that a later prompt may refine. */
  masks: 16,
};

/** @throws HrsamError ERR_ARGUMENT for what no browser sends as the origin of a page */
export function checkOrigin(origin: string | undefined): void {
  if (origin === undefined || origin === '*' || origin === 'null') return;
  const parsed = URL.canParse(origin) ? new URL(origin).origin : undefined;
  // Of extensions and web views, whose schemes have no origin to URL.
  const other = parsed === 'null' && /^[a-z][a-z\d+.-]*:\/\/[^/?#@\s]+$/.test(origin);
  if (parsed === origin || other) return;
  const expected = 'https://example.org, without a path, or *';
  throw new HrsamError('ERR_ARGUMENT', 'allowed origin', { expected, actual: origin });
}
