import { connect } from 'node:net';
import type { FastifyInstance } from 'fastify';
import sharp from 'sharp';
import { afterAll, beforeAll, vi } from 'vitest';
import type { HRSAM } from '../../lib/predictor/hrsam.js';
import { EncodedImage } from '../../lib/predictor/image.js';
import type { ServerOptions } from '../../lib/server/options.js';
import { createServer } from '../../lib/server/server.js';
import { picture, randomModel } from '../predictor/support/models.js';

export const [HEIGHT, WIDTH] = [90, 150];
export let model: HRSAM;
export let png: Buffer;
export let app: FastifyInstance;
const apps: FastifyInstance[] = [];

export const serve = (
  options: ServerOptions = {},
  models: [HRSAM, ...HRSAM[]] = [model],
): FastifyInstance => {
  const made = createServer(models, options);
  apps.push(made);
  return made;
};
export const pngOf = (height: number, width: number): Promise<Buffer> => {
  const { data, channels } = picture(height, width);
  return sharp(data, { raw: { width, height, channels: channels as 3 } })
    .png()
    .toBuffer();
};

beforeAll(async () => {
  model = await randomModel('hrsam-tiny');
  png = await pngOf(HEIGHT, WIDTH);
  app = serve();
});
afterAll(() => Promise.all(apps.map((each) => each.close())));

export const IMAGE = { 'content-type': 'image/png' };
export const send = (server: FastifyInstance, body: Buffer = png, query = '') =>
  server.inject({ method: 'POST', url: `/images${query}`, headers: IMAGE, body });
export const sent = async (server: FastifyInstance, body = png, query = '') =>
  (await send(server, body, query)).json().id as string;
export const ask = (id: string, body: object, what = 'masks', server = app) =>
  server.inject({ method: 'POST', url: `/images/${id}/${what}`, body });
export const requests = async (server: FastifyInstance) => (await server.inject('/health')).json().requests;

/** A connection to a server that listens. */
export function connectTo(address: string) {
  return connect(Number(new URL(address).port), 'localhost').on('error', () => {});
}
export const post = (path: string, type: string, body: string, length = body.length) =>
  `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n\r\n${body}`;

/** Holds what looks everywhere, until it is let go. */
export function holdEverything() {
  let release = () => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  const { eachFound } = EncodedImage.prototype;
  const spy = vi.spyOn(EncodedImage.prototype, 'eachFound').mockImplementation(async function (
    this: EncodedImage,
    ...given
  ) {
    await held;
    return eachFound.apply(this, given);
  });
  return () => {
    spy.mockRestore();
    release();
  };
}

/** What an error answer says. */
export const refused = async (
  response: { statusCode: number; json(): unknown } | Promise<{ statusCode: number; json(): unknown }>,
) => {
  const { statusCode, json } = await response;
  return { statusCode, ...(json() as { error: { code: string; message: string } }).error };
};
