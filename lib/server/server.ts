import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import Fastify, { type FastifyInstance, type FastifyReply, type FastifyRequest } from 'fastify';
import { type ErrorCode, HrsamError } from '../errors.js';
import { STEPS } from '../image/simplify.js';
import type { HRSAM } from '../predictor/hrsam.js';
import type { Mask } from '../predictor/mask.js';
import { packageRoot } from '../runtime/addon.js';
import { type HeldImage, HeldImages } from './images.js';
import { SERVER_DEFAULTS, type ServerOptions } from './options.js';
import { encodeQuery, everythingBody, segmentBody } from './requests.js';

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

/** A client that sends a request slower than this is let go, ms. */
const REQUEST_TIMEOUT = 60_000;

const PAGE: Record<string, { file: string; type: string }> = {
  '/': { file: 'index.html', type: 'text/html; charset=utf-8' },
  '/page.js': { file: 'page.js', type: 'text/javascript; charset=utf-8' },
  '/page.css': { file: 'page.css', type: 'text/css; charset=utf-8' },
};

/**
 * A model behind HTTP: pictures are encoded once, kept within a budget of memory, and prompted by their id. The caller
 * listens and closes; the model stays the caller's.
 */
export function createServer(model: HRSAM, options: ServerOptions = {}): FastifyInstance {
  const {
    memory = SERVER_DEFAULTS.memory,
    pictureBytes = SERVER_DEFAULTS.pictureBytes,
    maxSize = SERVER_DEFAULTS.maxSize,
    requests = SERVER_DEFAULTS.requests,
  } = options;
  const app = Fastify({ requestTimeout: REQUEST_TIMEOUT, forceCloseConnections: 'idle' });
  const images = new HeldImages(memory);
  let working = 0;

  /** A handler that computes: within the limit of requests, and cancelled when the client goes. */
  const computing =
    (handle: (request: FastifyRequest, reply: FastifyReply, signal: AbortSignal) => Promise<unknown>) =>
    async (request: FastifyRequest, reply: FastifyReply) => {
      if (working >= requests)
        throw new HrsamError('ERR_BUSY', 'too many requests under way', { expected: `at most ${requests}` });
      working++;
      const controller = new AbortController();
      const gone = () => {
        if (!reply.raw.writableFinished) controller.abort();
      };
      reply.raw.once('close', gone);
      try {
        return await handle(request, reply, controller.signal);
      } finally {
        reply.raw.off('close', gone);
        working--;
      }
    };

  const held = (request: FastifyRequest): HeldImage => {
    const { id } = request.params as { id: string };
    const found = images.get(id);
    if (found) return found;
    throw new HrsamError('ERR_DISPOSED', 'no such picture', {
      where: id,
      expected: 'one that was sent, and not too long ago',
    });
  };

  app.addContentTypeParser(
    /^(image\/|application\/octet-stream)/,
    { parseAs: 'buffer', bodyLimit: pictureBytes },
    (_, body, done) => done(null, body),
  );
  app.addHook('onClose', async () => images.clear());
  app.addHook('onSend', async (_, reply) => {
    reply.header('x-content-type-options', 'nosniff');
  });
  app.setErrorHandler((error, _, reply) => {
    const { status, code, message } = describe(error);
    if (status === 500) process.stderr.write(`hrsam: ${code}: ${String(error)}\n`);
    if (status === 503) reply.header('retry-after', '1');
    reply.code(status).send(errorBody(code, message));
  });
  app.setNotFoundHandler((request, reply) =>
    reply.code(404).send(errorBody('ERR_ARGUMENT', `nothing at ${request.method} ${request.url}`)),
  );

  for (const [path, { file, type }] of Object.entries(PAGE)) {
    app.get(path, async (_, reply) => {
      reply.type(type).header('content-security-policy', "default-src 'self'; img-src 'self' blob: data:");
      return readFile(join(packageRoot(), 'web', file));
    });
  }

  app.get('/health', async () => ({
    status: 'ok',
    family: model.config.family,
    device: model.device.name,
    size: model.config.image.size,
    requests: working,
    images: images.count,
    bytes: images.bytes,
  }));

  app.post(
    '/images',
    computing(async (request, reply, signal) => {
      const { size } = encodeQuery(request.query);
      if (size !== undefined && size > maxSize)
        throw new HrsamError('ERR_ARGUMENT', 'query.size', { expected: `at most ${maxSize}`, actual: size });
      if (!Buffer.isBuffer(request.body)) {
        throw new HrsamError('ERR_IMAGE', 'no picture', {
          where: 'body',
          expected: 'the bytes of a JPEG, PNG, WebP, TIFF, GIF or AVIF',
        });
      }
      const begin = performance.now();
      const image = await model.encode(request.body, { size, signal });
      const id = images.add(image);
      reply.code(201).header('location', `/images/${id}`);
      return { id, ...image.original, input: image.input, ms: since(begin) };
    }),
  );

  app.post(
    '/images/:id/masks',
    computing(async (request, reply, signal) => {
      const picture = held(request);
      const { mask: earlier, polygons = false, ...prompt } = segmentBody(request.body);
      const mask = earlier === undefined ? undefined : picture.logits(earlier);
      if (earlier !== undefined && !mask) {
        throw new HrsamError('ERR_PROMPT', 'no such answer', {
          where: 'body.mask',
          expected: 'the id of one of the last answers about this picture',
          actual: earlier,
        });
      }
      const begin = performance.now();
      const masks = await picture.image.segment({ ...prompt, mask, signal });
      if (request.headers.accept === 'image/png') {
        reply.type('image/png').header('x-score', String(masks[0]!.score));
        return masks[0]!.toPng();
      }
      const ms = since(begin);
      return { masks: masks.map((one) => ({ id: picture.keep(one), ...answer(one, polygons) })), ms };
    }),
  );

  app.post(
    '/images/:id/everything',
    computing(async (request, _, signal) => {
      const picture = held(request);
      const { polygons = false, ...bounds } = everythingBody(request.body);
      const begin = performance.now();
      const found = await picture.image.everything({ ...bounds, signal });
      const masks = found.map(({ mask, stability, point }) => ({
        ...answer(mask, polygons),
        stability,
        point,
      }));
      return { masks, ms: since(begin) };
    }),
  );

  app.delete('/images/:id', async (request, reply) => {
    held(request);
    images.delete((request.params as { id: string }).id);
    return reply.code(204).send();
  });
  return app;
}

const since = (begin: number): number => Math.round((performance.now() - begin) * 100) / 100;

const answer = (mask: Mask, polygons: boolean) => ({
  index: mask.index,
  score: mask.score,
  area: mask.area,
  bbox: mask.bbox,
  rle: mask.compressedRle(),
  ...(polygons && { polygons: mask.polygons({ tolerance: STEPS }) }),
});

const errorBody = (code: string, message: string) => ({ error: { code, message } });

function describe(error: unknown): { status: number; code: string; message: string } {
  if (error instanceof HrsamError) {
    const status = STATUS[error.code] ?? 500;
    return { status, code: error.code, message: error.message };
  }
  // Fastify's own: a body too large, of an unknown kind or no JSON.
  const { statusCode = 500, message } = error as { statusCode?: number; message?: string };
  if (statusCode >= 400 && statusCode < 500)
    return { status: statusCode, code: 'ERR_ARGUMENT', message: message ?? '' };
  return { status: 500, code: 'ERR_INTERNAL', message: 'the request failed' };
}
