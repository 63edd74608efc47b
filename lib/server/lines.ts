import { PassThrough } from 'node:stream';
import type { FastifyReply } from 'fastify';
import { failure } from './errors.js';

/** Lines of JSON. */
export const LINES = 'application/x-ndjson';

/**
 * Answers in lines: `{ done, total }` as the work goes on, and at last its result. What goes wrong before the first line
 * is an error as any other; after it, the last line.
 */
export async function inLines(
  reply: FastifyReply,
  work: (onProgress: (done: number, total: number) => void) => Promise<unknown>,
): Promise<FastifyReply> {
  const lines = new PassThrough();
  let begun = false;
  const say = (line: unknown): void => {
    if (!begun) reply.type(LINES).send(lines);
    begun = true;
    // The client may be gone.
    if (lines.writable) lines.write(`${JSON.stringify(line)}\n`);
  };
  try {
    say(await work((done, total) => say({ done, total })));
  } catch (error) {
    if (!begun) throw error;
    say(failure(error, reply.request).body);
  }
  lines.end();
  return reply;
}
