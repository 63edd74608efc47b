import { STATUS_CODES } from 'node:http';
import type { FastifyInstance, FastifyReply, FastifyRequest, FastifyServerOptions } from 'fastify';
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
  ERR_DEVICE_LOST: 503,
};

/** Answers what goes wrong with `{ error: { code, message } }`. */
export function answerErrors(app: FastifyInstance): void {
  app.setErrorHandler((error, request, reply) => {
    const { status, body } = failure(error, request);
    if (status === 503) reply.header('retry-after', '1');
    reply.code(status).send(body);
  });
  app.setNotFoundHandler((request, reply) =>
    reply.code(404).send(errorBody('ERR_ARGUMENT', `nothing at ${request.method} ${request.url}`)),
  );
}

/** What is answered; that of an error which is not the client's is said here, too. */
export function failure(error: unknown, { routeOptions }: FastifyRequest) {
  const { status, code, message } = describe(error, routeOptions);
  if (status === 500) process.stderr.write(`hrsam: ${code}: ${String(error)}\n`);
  return { status, body: errorBody(code, message) };
}

/** The same for what reaches no route, before which Fastify has no hooks. */
export const REFUSALS: Pick<FastifyServerOptions, 'frameworkErrors' | 'clientErrorHandler'> = {
  frameworkErrors(error: Error, _: unknown, reply: FastifyReply) {
    const { status, code, message } = describe(error);
    reply.code(status).header('x-content-type-options', 'nosniff').send(errorBody(code, message));
  },
  clientErrorHandler({ code = '' }, socket) {
    // After a reset there is nobody to tell.
    if (code !== 'ECONNRESET' && socket.writable) {
      const [status, message] = REFUSED[code] ?? [400, 'not an HTTP request'];
      const body = JSON.stringify(errorBody('ERR_ARGUMENT', message));
      socket.write(
        `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\nConnection: close\r\nContent-Length: ${body.length}\r\n` +
          `Content-Type: application/json; charset=utf-8\r\nX-Content-Type-Options: nosniff\r\n\r\n${body}`,
      );
    }
    socket.destroy();
  },
};

/** What Node refuses, by the code of its error. */
const REFUSED: Record<string, readonly [number, string]> = {
  ERR_HTTP_REQUEST_TIMEOUT: [408, 'the request took too long to arrive'],
  HPE_HEADER_OVERFLOW: [431, 'the headers are too large'],
};

const errorBody = (code: string, message: string) => ({ error: { code, message } });

type Route = Pick<FastifyRequest['routeOptions'], 'bodyLimit' | 'config'>;

function describe(error: unknown, route?: Route): { status: number; code: string; message: string } {
  if (error instanceof HrsamError) {
    const status = STATUS[error.code] ?? 500;
    return { status, code: error.code, message: error.message };
  }
  // Fastify's own: a body too large, of an unknown kind or no JSON.
  const { statusCode = 500, message = '' } = error as { statusCode?: number; message?: string };
  const expected = { 413: `at most ${route?.bodyLimit} bytes`, 415: route?.config.takes }[statusCode];
  if (statusCode >= 400 && statusCode < 500)
    return {
      status: statusCode,
      code: 'ERR_ARGUMENT',
      message: expected && route ? `${message}; expected ${expected}` : message,
    };
  return { status: 500, code: 'ERR_INTERNAL', message: 'the request failed' };
}
