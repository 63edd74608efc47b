import cors from '@fastify/cors';
import Fastify, { type FastifyInstance } from 'fastify';
import { HrsamError } from '../errors.js';
import type { HRSAM } from '../predictor/hrsam.js';
import { answerErrors, REFUSALS } from './errors.js';
import { Gate } from './gate.js';
import { serveImages } from './image_routes.js';
import { HeldImages } from './images.js';
import { watch } from './metrics.js';
import { checkOrigin, SERVER_DEFAULTS, type ServerOptions } from './options.js';
import { servePage } from './page.js';

/** What pages of another origin may ask, where they may at all. */
const METHODS = ['GET', 'POST', 'DELETE'];
/** A client that sends a request slower than this is let go, ms. */
const REQUEST_TIMEOUT = 60_000;
/** A client that does not take its answer when the server closes is let go after this, ms. */
const PATIENCE = 5_000;
/** Of the largest pictures so many may be on their way at a time, of smaller ones more. */
const BODIES = 4;

/**
 * A model behind HTTP: pictures are encoded once, kept within a budget of memory, and prompted by their id. The caller
 * listens and closes; the models, one's weights on each of several devices, stay the caller's.
 */
export function createServer(
  models: readonly [HRSAM, ...HRSAM[]],
  options: ServerOptions = {},
): FastifyInstance {
  const [{ config, device }] = models;
  const {
    memory = SERVER_DEFAULTS.memory,
    pictureBytes = SERVER_DEFAULTS.pictureBytes,
    maxPixels = SERVER_DEFAULTS.maxPixels,
    maxSize = SERVER_DEFAULTS.maxSize,
    requests = SERVER_DEFAULTS.requests,
    batch = SERVER_DEFAULTS.batch[device.kind],
    zoom = false,
    allowOrigin,
    log,
  } = options;
  checkOrigin(allowOrigin);
  const app = Fastify({
    requestTimeout: REQUEST_TIMEOUT,
    // After what has begun is answered: a client may stall in the middle of its request for ever.
    forceCloseConnections: true,
    return503OnClosing: false,
    ...REFUSALS,
  });
  // No route takes text; Fastify would.
  app.removeContentTypeParser('text/plain');
  const images = new HeldImages(memory);
  const gate = new Gate(requests, BODIES * pictureBytes);
  // First: what other hooks turn away is counted, too.
  watch(app, { models, images, gate, log });
  let closing = false;
  app.addHook('onRequest', async () => {
    if (closing) throw new HrsamError('ERR_BUSY', 'the server is closing');
  });
  app.addHook('preClose', async () => {
    closing = true;
    await gate.drained(PATIENCE);
  });
  app.addHook('onClose', async () => images.clear());
  app.addHook('onSend', async (_, reply) => {
    reply.header('x-content-type-options', 'nosniff');
  });
  if (allowOrigin)
    app.register(cors, {
      origin: allowOrigin,
      methods: METHODS,
      exposedHeaders: ['location', 'retry-after', 'x-score'],
    });
  answerErrors(app);
  servePage(app);
  serveImages(app, { models, batch, zoom, images, gate, maxSize, maxPixels, pictureBytes });
  app.get('/health', async (_, reply) => {
    const named = (some: readonly HRSAM[]) => some.map((model) => model.device.name).join();
    const lost = models.filter((model) => model.device.lost);
    if (lost.length === models.length) reply.code(503);
    return {
      status: lost.length === 0 ? 'ok' : lost.length < models.length ? 'degraded' : 'lost',
      family: config.family,
      device: named(models),
      ...(lost.length > 0 && { lost: named(lost) }),
      size: config.image.size,
      zoom,
      requests: gate.working,
      images: images.count,
      bytes: images.bytes,
    };
  });
  return app;
}
