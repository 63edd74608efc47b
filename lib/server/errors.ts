import type { FastifyInstance } from 'fastify';
import { type ErrorCode, HrsamError } from '../errors.js';

declare module 'fastify' {
  interface FastifyContextConfig {
    /** What a route's body is. */
    takes?: string;
  }
}

/** What an error of ours is in HTTP; anything else is 500. */
const STATUS: Partial<Record<ErrorCode, number>> = {
  ERR_ARGUMENT: 400,
  ERR_PROMPT: 400,
  ERR_SHAPE: 400,
  ERR_IMAGE: 422,
  ERR_DISPOSED: 404,
  // The client is gone: nobody reads it.
  ERR_ABORTED: 499,
  ERR_OUT_OF_MEMORY: 503,
  ERR_BUSY: 503,
};

/** Answers what goes wrong with `{ error: { code, message } }`. */
export function answerErrors(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => {
    const { status, code, message } = describe(error, request.routeOptions.config.takes);
    if (status === 500) process.stderr.write(`hrsam: ${code}: ${String(error)}\n`);
    if (status === 503) reply.header('retry-after', '1');
    reply.code(status).send(errorBody(code, message));
  });
  app.setNotFoundHandler((request, reply) =>
    reply.code(404).send(errorBody('ERR_ARGUMENT', `nothing at ${request.method} ${request.url}`)),
  );
}

const errorBody = (code: string, message: string) => ({ error: { code, message } });

function describe(error: unknown, takes?: string): { status: number; code: string; message: string } {
  if (error instanceof HrsamError) {
    const status = STATUS[error.code] ?? 500;
    return { status, code: error.code, message: error.message };
  }
  // Fastify's own: a body too large, of an unknown kind or no JSON.
  const { statusCode = 500, message = '' } = error as { statusCode?: number; message?: string };
  const expected = statusCode === 415 && takes ? `; expected ${takes}` : '';
  if (statusCode >= 400 && statusCode < 500)
    return { status: statusCode, code: 'ERR_ARGUMENT', message: message + expected };
  return { status: 500, code: 'ERR_INTERNAL', message: 'the request failed' };
}
