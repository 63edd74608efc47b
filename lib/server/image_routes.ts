import { setImmediate } from 'node:timers/promises';
import accepts from 'accepts';
import type { FastifyInstance, FastifyRequest } from 'fastify';
import fastq from 'fastq';
import { PICTURE_FORMATS } from '../data/files.js';
import { HrsamError } from '../errors.js';
import { decodeImage } from '../image/decode.js';
import { STEPS } from '../image/simplify.js';
import type { EverythingOptions } from '../predictor/everything_options.js';
import type { EncodeOptions, HRSAM } from '../predictor/hrsam.js';
import type { Mask } from '../predictor/mask.js';
import { maskJson } from '../predictor/mask_json.js';
import { checkSignal } from '../runtime/addon.js';
import { Batches } from './batches.js';
import type { Gate, Handler } from './gate.js';
import type { HeldImage, HeldImages } from './images.js';
import { inLines, LINES } from './lines.js';
import { SERVER_LIMITS } from './options.js';
import { encodeQuery, everythingBody, segmentBody } from './requests.js';

export interface ImageService {
  models: readonly [HRSAM, ...HRSAM[]];
  /** Pictures that are encoded together. */
  batch: number;
  /** What pictures have that ask for neither. */
  zoom: boolean;
  images: HeldImages;
  gate: Gate;
  maxSize: number;
  maxPixels: number;
  /** Of a picture's file. */
  pictureBytes: number;
}

/** Pictures are sent, prompted by their id and forgotten. */
export function serveImages(app: FastifyInstance, service: ImageService): void {
  const { images, gate, pictureBytes } = service;
  app.register(async (pictures) => {
    pictures.addContentTypeParser(
      /^(image\/|application\/octet-stream)/,
      { parseAs: 'buffer', bodyLimit: pictureBytes },
      (_, body, done) => done(null, body),
    );
    pictures.post('/images', {
      bodyLimit: pictureBytes,
      config: { takes: "a picture's bytes as image/… or application/octet-stream" },
      ...gate.computing(encode(service)),
    });
  });
  const config = { takes: 'application/json' };
  app.post('/images/:id/masks', { config, ...gate.computing(segment(images)) });
  app.post('/images/:id/everything', { config, ...gate.computing(everything(images)) });
  app.delete('/images/:id', async (request, reply) => {
    held(images, request);
    images.delete(idOf(request));
    return reply.code(204).send();
  });
}

function encode({ models, batch, zoom: usual, images, maxSize, maxPixels }: ImageService): Handler {
  type Work = EncodeOptions & { bytes: Buffer };
  const batches = new Batches(models, batch);
  // No more are decoded than can be encoded: pixels take many times the memory of a file.
  const queue = fastq.promise(async ({ bytes, ...options }: Work) => {
    // A client that left while it waited costs no decoding.
    checkSignal(options.signal);
    return batches.encode(await decodeImage(bytes, { maxPixels }), options);
  }, batches.room);
  return async (request, reply, signal) => {
    const { zoom = usual, ...options } = encodeQuery(request.query);
    const { size } = options;
    models[0].checkSize(size, size === undefined ? undefined : maxSize);
    if (!Buffer.isBuffer(request.body)) {
      throw new HrsamError('ERR_IMAGE', 'no picture', {
        where: 'body',
        expected: `the bytes of a ${PICTURE_FORMATS}`,
      });
    }
    const begin = performance.now();
    const image = await queue.push({ bytes: request.body, ...options, zoom, signal });
    const id = images.add(image);
    reply.code(201).header('location', `/images/${id}`);
    return { id, ...image.original, input: image.input, ms: since(begin) };
  };
}

type About = (picture: HeldImage, ...rest: Parameters<Handler>) => Promise<unknown>;

/** A route about a picture, which stays while it computes. */
const about =
  (images: HeldImages, handle: About): Handler =>
  async (request, ...rest) => {
    const picture = held(images, request);
    return images.use(picture, () => handle(picture, request, ...rest));
  };

const segment = (images: HeldImages): Handler =>
  about(images, async (picture, request, reply, signal) => {
    const { mask: earlier, polygons = false, ...prompt } = segmentBody(request.body);
    const mask = earlier === undefined ? undefined : earlierLogits(picture, earlier);
    const begin = performance.now();
    const png = accepts(request.raw).type(['json', 'png']) === 'png';
    // Of more masks than are kept, the first: their logits take most of the memory.
    const kept: Mask[] = [];
    const told = await picture.image.eachMask({ ...prompt, mask, signal }, async (one) => {
      if (kept.length < SERVER_LIMITS.masks) kept.push(one);
      return png ? undefined : answer(one, polygons, signal);
    });
    if (png) {
      reply.type('image/png').header('x-score', String(kept[0]!.score));
      return kept[0]!.toPng();
    }
    const ms = since(begin);
    const ids = kept.map((one) => picture.keep(one));
    return { masks: told.map((one, i) => ({ id: ids[i], ...one })), ms };
  });

const everything = (images: HeldImages): Handler =>
  about(images, (picture, request, reply, signal) => {
    const { polygons = false, ...bounds } = everythingBody(request.body);
    const find = async (onProgress?: EverythingOptions['onProgress']) => {
      const begin = performance.now();
      const masks = await picture.image.eachFound(
        { ...bounds, signal, onProgress },
        SERVER_LIMITS.found,
        async ({ mask, stability, point }) => ({
          ...(await answer(mask, polygons, signal)),
          stability,
          point,
        }),
      );
      return { masks, ms: since(begin) };
    };
    return accepts(request.raw).type(['json', LINES]) === LINES ? inLines(reply, find) : find();
  });

const idOf = ({ params }: FastifyRequest): string => (params as { id: string }).id;

function held(images: HeldImages, request: FastifyRequest): HeldImage {
  const id = idOf(request);
  const found = images.get(id);
  if (found && !found.image.embedding.device.lost) return found;
  if (found) images.delete(id);
  throw new HrsamError('ERR_DISPOSED', 'no such picture', {
    where: id,
    expected: 'one that was sent, and not too long ago',
  });
}

function earlierLogits(picture: HeldImage, id: string) {
  const logits = picture.logits(id);
  if (logits) return logits;
  throw new HrsamError('ERR_PROMPT', 'no such answer', {
    where: 'body.mask',
    expected: 'the id of one of the last answers about this picture',
    actual: id,
  });
}

const since = (begin: number): number => Math.round((performance.now() - begin) * 100) / 100;

/** A mask in JSON. Those of large pictures take long: between two of them other requests are served. */
async function answer(mask: Mask, polygons: boolean, signal: AbortSignal) {
  await setImmediate();
  checkSignal(signal);
  return { ...maskJson(mask), ...(polygons && { polygons: mask.polygons({ tolerance: STEPS }) }) };
}
