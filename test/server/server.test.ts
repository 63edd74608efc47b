import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { text } from 'node:stream/consumers';
import type { FastifyInstance } from 'fastify';
import sharp from 'sharp';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { decodeImage } from '../../lib/image/decode.js';
import { decompressRle } from '../../lib/image/rle.js';
import type { HRSAM } from '../../lib/predictor/hrsam.js';
import { EncodedImage } from '../../lib/predictor/image.js';
import { Mask } from '../../lib/predictor/mask.js';
import type { ServerOptions } from '../../lib/server/options.js';
import { createServer } from '../../lib/server/server.js';
import { picture, randomModel } from '../predictor/support/models.js';

const [HEIGHT, WIDTH] = [90, 150];
let model: HRSAM;
let png: Buffer;
let app: FastifyInstance;
const apps: FastifyInstance[] = [];

const serve = (options: ServerOptions = {}): FastifyInstance => {
  const made = createServer(model, options);
  apps.push(made);
  return made;
};
const pngOf = (height: number, width: number): Promise<Buffer> => {
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

const IMAGE = { 'content-type': 'image/png' };
const send = (server: FastifyInstance, body: Buffer = png, query = '') =>
  server.inject({ method: 'POST', url: `/images${query}`, headers: IMAGE, body });
const sent = async (server: FastifyInstance, body = png, query = '') =>
  (await send(server, body, query)).json().id as string;
const ask = (id: string, body: object, what = 'masks', server = app) =>
  server.inject({ method: 'POST', url: `/images/${id}/${what}`, body });
const requests = async (server: FastifyInstance) => (await server.inject('/health')).json().requests;

/** A connection to a server that listens. */
function connectTo(address: string) {
  return connect(Number(new URL(address).port), 'localhost').on('error', () => {});
}
const post = (path: string, type: string, body: string, length = body.length) =>
  `POST ${path} HTTP/1.1\r\nHost: a\r\nContent-Type: ${type}\r\nContent-Length: ${length}\r\n\r\n${body}`;

/** Holds what looks everywhere, until it is let go. */
function holdEverything() {
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

describe('pictures', () => {
  it('are encoded and kept', async () => {
    const response = await send(app, png, '?size=128');
    expect(response.statusCode).toBe(201);
    const { id, ...rest } = response.json();
    expect(response.headers.location).toBe(`/images/${id}`);
    expect(rest).toEqual({
      height: HEIGHT,
      width: WIDTH,
      input: { height: 128, width: 128 },
      ms: expect.any(Number),
    });
  });

  it('are encoded at the model’s own size as well where that is asked for', async () => {
    const one = serve();
    const held = async (query: string) => {
      const id = await sent(one, png, query);
      const { bytes } = (await one.inject('/health')).json();
      await one.inject({ method: 'DELETE', url: `/images/${id}` });
      return bytes as number;
    };
    const [alone, both] = [await held('?size=320'), await held('?size=320&coarseToFine=true')];
    expect(both - alone).toBe(4 * 16 * 16 * model.config.prompt.embedDim);
    expect(await held('?size=320&coarseToFine=false')).toBe(alone);
  });

  it('are forgotten on request', async () => {
    const id = await sent(app);
    const url = `/images/${id}`;
    expect((await app.inject({ method: 'DELETE', url })).statusCode).toBe(204);
    expect((await app.inject({ method: 'DELETE', url })).statusCode).toBe(404);
    expect((await ask(id, { points: [[1, 1]] })).statusCode).toBe(404);
  });

  it('make room for others, the one not asked for the longest first', async () => {
    const one = serve();
    await sent(one);
    const { bytes } = (await one.inject('/health')).json();
    const small = serve({ memory: 2 * bytes });
    const [first, second] = [await sent(small), await sent(small)];
    await ask(first, { points: [[5, 5]] }, 'masks', small);
    const third = await sent(small);
    const status = async (id: string) => (await ask(id, { points: [[5, 5]] }, 'masks', small)).statusCode;
    expect([await status(first), await status(second), await status(third)]).toEqual([200, 404, 200]);
    expect((await small.inject('/health')).json()).toMatchObject({ images: 2, bytes: 2 * bytes });
  });
});

describe('pictures in use', () => {
  const bounds = { pointsPerSide: 1, minScore: 0, minStability: 0 };

  it('stay until they are not', async () => {
    const one = serve();
    await sent(one);
    const { bytes } = (await one.inject('/health')).json();
    const small = serve({ memory: 2 * bytes });
    const held = async () => {
      const { images, bytes } = (await small.inject('/health')).json();
      return { images, bytes };
    };
    const used = await sent(small);
    const release = holdEverything();
    const answer = ask(used, bounds, 'everything', small);
    await vi.waitFor(async () => expect(await requests(small)).toBe(1));
    const [second, third] = [await sent(small), await sent(small)];
    expect((await ask(second, {}, 'masks', small)).statusCode).toBe(404);
    const url = `/images/${used}`;
    expect((await small.inject({ method: 'DELETE', url })).statusCode).toBe(204);
    expect(await held()).toEqual({ images: 1, bytes: 2 * bytes });
    release();
    expect((await answer).json().masks.length).toBeGreaterThan(0);
    expect(await held()).toEqual({ images: 1, bytes });
    expect((await ask(third, bounds, 'everything', small)).statusCode).toBe(200);
  });

  it('leave no room for others', async () => {
    const one = serve();
    await sent(one);
    const { bytes } = (await one.inject('/health')).json();
    const small = serve({ memory: bytes });
    const used = await sent(small);
    const release = holdEverything();
    const answer = ask(used, bounds, 'everything', small);
    await vi.waitFor(async () => expect(await requests(small)).toBe(1));
    const refused = await send(small);
    release();
    expect(refused.statusCode).toBe(503);
    expect(refused.json().error.code).toBe('ERR_OUT_OF_MEMORY');
    expect((await answer).statusCode).toBe(200);
    expect((await send(small)).statusCode).toBe(201);
  });
});

describe('masks', () => {
  it('are those of the model', async () => {
    const id = await sent(app);
    using image = await model.encode(png);
    const prompt = { points: [[70, 40]] as [number, number][], multimask: true };
    const { masks } = (await ask(id, prompt)).json();
    const expected = await image.segment(prompt);
    expect(masks.map(({ id: _, ...mask }: { id: string }) => mask)).toEqual(
      expected.map((mask) => ({
        index: mask.index,
        score: mask.score,
        area: mask.area,
        bbox: mask.bbox,
        rle: mask.compressedRle(),
      })),
    );
  });

  it('are refined by further clicks as in a click session', async () => {
    const id = await sent(app);
    using image = await model.encode(png);
    const session = image.session();
    await session.click(70, 40);
    const expected = await session.click(20, 80, 0);
    const [first] = (await ask(id, { points: [[70, 40]] })).json().masks;
    const points = [
      [70, 40],
      [20, 80],
    ];
    const [second] = (await ask(id, { points, labels: [1, 0], mask: first.id })).json().masks;
    expect(decompressRle(second.rle)).toEqual(expected.rle);
    expect(second.score).toBe(expected.score);
  });

  it('are refined before they are given, as often as is asked for', async () => {
    const id = await sent(app);
    using image = await model.encode(png);
    const prompt = { points: [[70, 40]] as [number, number][], refinements: 2 };
    const [mask] = (await ask(id, prompt)).json().masks;
    const [expected] = await image.segment(prompt);
    const [plain] = await image.segment({ ...prompt, refinements: 0 });
    expect([mask.score, decompressRle(mask.rle)]).toEqual([expected!.score, expected!.rle]);
    expect(mask.score).not.toBe(plain!.score);
  });

  it('have outlines on request, and are pictures for those who accept only these', async () => {
    const id = await sent(app);
    const prompt = { box: [10, 10, 100, 80] };
    const [mask] = (await ask(id, { ...prompt, polygons: true })).json().masks;
    expect(mask.polygons.length).toBeGreaterThan(0);
    const url = `/images/${id}/masks`;
    const asked = (accept: string) => app.inject({ method: 'POST', url, headers: { accept }, body: prompt });
    for (const accept of ['*/*', 'application/json, image/png', 'text/html'])
      expect((await asked(accept)).headers['content-type']).toContain('application/json');
    expect((await asked('image/*;q=0.8')).headers['content-type']).toBe('image/png');
    const response = await asked('image/png');
    expect(response.headers).toMatchObject({ 'content-type': 'image/png', 'x-score': `${mask.score}` });
    const { data, height, width, channels } = await decodeImage(response.rawPayload);
    expect([height, width]).toEqual([HEIGHT, WIDTH]);
    const area = data.filter((value, i) => i % channels === 0 && value === 255).length;
    expect(area).toBe(mask.area);
  });

  it('have ids where they are kept: the first of many', async () => {
    const id = await sent(app);
    const boxes = Array.from({ length: 20 }, (_, i) => [i, i, i + 40, i + 40]);
    const { masks } = (await ask(id, { boxes })).json();
    const ids = masks.flatMap((mask: { id?: string }) => mask.id ?? []);
    expect([masks.length, ids.length, masks[15].id]).toEqual([20, 16, ids[15]]);
    for (const mask of ids) expect((await ask(id, { points: [[9, 9]], mask })).statusCode).toBe(200);
  });

  it('let others in between their outlines', async () => {
    let turn = 0;
    const count = () => {
      turn++;
      counting = setImmediate(count);
    };
    let counting = setImmediate(count);
    const turns = new Set<number>();
    const polygons = vi.spyOn(Mask.prototype, 'polygons').mockImplementation(() => {
      turns.add(turn);
      return [];
    });
    const boxes = Array.from({ length: 5 }, () => [10, 10, 50, 50]);
    await ask(await sent(app), { boxes, polygons: true });
    polygons.mockRestore();
    clearImmediate(counting);
    expect(turns.size).toBe(5);
  });

  it('of everything', async () => {
    const id = await sent(app);
    const bounds = { pointsPerSide: 3, minScore: 0, minStability: 0 };
    using image = await model.encode(png);
    const expected = await image.everything(bounds);
    const { masks } = (await ask(id, bounds, 'everything')).json();
    expect(masks.map(({ point, area }: { point: number[]; area: number }) => ({ point, area }))).toEqual(
      expected.map(({ point, mask }) => ({ point, area: mask.area })),
    );
  });
});

describe('everything', () => {
  it('is the best of very many', async () => {
    const id = await sent(app, png, '?size=64');
    const bounds = { pointsPerSide: 40, minScore: 0, minStability: 0, maxOverlap: 1 };
    const { masks } = (await ask(id, bounds, 'everything')).json();
    expect(masks).toHaveLength(1000);
  });
});

describe('what is wrong', () => {
  const refused = async (
    response: { statusCode: number; json(): unknown } | Promise<{ statusCode: number; json(): unknown }>,
  ) => {
    const { statusCode, json } = await response;
    return { statusCode, ...(json() as { error: { code: string; message: string } }).error };
  };

  it.each([
    [{ points: [[70, 40, 3]] }, /body\.points\.0/],
    [{ points: [['a', 1]] }, /body\.points\.0\.0/],
    [{ point: [[1, 1]] }, /point/],
    [{ points: [[1000, 1]] }, /not a place in the picture/],
    [{ points: [[1, 1]], labels: [1, 1] }, /one label per point/],
    [{ points: [[1, 1]], mask: 'none' }, /no such answer/],
    [{ multimask: 'most', points: [[1, 1]] }, /body\.multimask/],
    [{ refinements: 9, points: [[1, 1]] }, /refinements; expected a whole number from 0 to 8; got 9/],
    [{ polygons: 1, labels: 1 }, /body\.labels: [^;]*; body\.polygons: /],
    [{}, /empty/],
  ])('in a prompt is said: %j', async (body, message) => {
    const { statusCode, code, message: said } = await refused(ask(await sent(app), body));
    expect(statusCode).toBe(400);
    expect(code).toMatch(/^ERR_(PROMPT|ARGUMENT)$/);
    expect(said).toMatch(message);
  });

  it('in a picture is said', async () => {
    expect(await refused(send(app, Buffer.from('no picture')))).toMatchObject({
      statusCode: 422,
      code: 'ERR_IMAGE',
    });
    expect(await refused(send(app, png, '?size=100'))).toMatchObject({ statusCode: 400 });
    expect(await refused(send(app, png, '?size=8192'))).toMatchObject({ statusCode: 400 });
    expect(await refused(send(app, png, '?size='))).toMatchObject({ statusCode: 400 });
    expect((await send(app, png, '?size=128&size=64')).json().error.message).toContain('query.size: once');
    expect(await refused(send(app, png, '?sise=128'))).toMatchObject({ statusCode: 400 });
    expect(await refused(send(app, png, '?coarseToFine=yes'))).toMatchObject({ statusCode: 400 });
    expect(await refused(app.inject({ method: 'POST', url: '/images', body: {} }))).toMatchObject({
      statusCode: 422,
    });
    expect(await refused(send(serve({ pictureBytes: 100 })))).toMatchObject({ statusCode: 413 });
    expect(await refused(send(serve({ maxPixels: HEIGHT * WIDTH - 1 })))).toMatchObject({
      statusCode: 422,
      message: expect.stringContaining(`at most ${HEIGHT * WIDTH - 1} pixels`),
    });
    expect((await send(serve({ maxPixels: HEIGHT * WIDTH }))).statusCode).toBe(201);
  });

  it('in a picture larger than all may be together is said', async () => {
    const small = serve({ memory: 1000 });
    expect(await refused(send(small))).toMatchObject({
      statusCode: 503,
      code: 'ERR_OUT_OF_MEMORY',
      message: expect.stringContaining('at most 1000 bytes'),
    });
    expect((await small.inject('/health')).json()).toMatchObject({ images: 0, bytes: 0 });
  });

  it('in a request is said', async () => {
    const url = `/images/${await sent(app)}/masks`;
    const headers = { 'content-type': 'application/json' };
    expect(await refused(app.inject({ method: 'POST', url, headers, body: '{' }))).toMatchObject({
      statusCode: 400,
      code: 'ERR_ARGUMENT',
    });
    const xml = { 'content-type': 'text/xml' };
    expect(await refused(app.inject({ method: 'POST', url, headers: xml, body: '<a/>' }))).toMatchObject({
      statusCode: 415,
    });
    expect(await refused(app.inject('/nothing'))).toMatchObject({ statusCode: 404 });
  });

  it('in what is no request for us is said in the same way', async () => {
    for (const [url, status] of [
      ['/images/%zz/masks', 400],
      [`/images/${'a'.repeat(200)}/masks`, 414],
    ] as const) {
      const response = await app.inject({ method: 'POST', url, body: {} });
      expect(response.headers['x-content-type-options']).toBe('nosniff');
      expect(await refused(response)).toMatchObject({ statusCode: status, code: 'ERR_ARGUMENT' });
    }
    const address = await serve().listen({ port: 0 });
    for (const [request, status] of [
      ['nonsense\r\n\r\n', 400],
      [`GET / HTTP/1.1\r\nHost: a\r\nX: ${'a'.repeat(20_000)}\r\n\r\n`, 431],
    ] as const) {
      const [head, body] = (await text(connectTo(address).setEncoding('utf8').end(request))).split(
        '\r\n\r\n',
      );
      expect(head).toMatch(new RegExp(`^HTTP/1.1 ${status} [^]*nosniff`));
      expect(JSON.parse(body!)).toEqual({ error: { code: 'ERR_ARGUMENT', message: expect.any(String) } });
    }
  });

  it('in the kind of a body is said before anything of it is looked at', async () => {
    const id = await sent(app);
    for (const what of ['masks', 'everything']) {
      const request = { method: 'POST', url: `/images/${id}/${what}`, headers: IMAGE, body: png } as const;
      const response = await app.inject(request);
      expect(response.statusCode).toBe(415);
      expect(response.json().error.message).toMatch(/; expected application\/json$/);
    }
    const headers = { 'content-type': 'application/json' };
    const response = await app.inject({ method: 'POST', url: '/images', headers, body: '{}' });
    expect(response.json().error).toMatchObject({ code: 'ERR_IMAGE' });
  });

  it('in many boxes at once is said', async () => {
    const boxes = Array.from({ length: 257 }, () => [0, 0, 9, 9]);
    const { statusCode, body } = await ask(await sent(app), { boxes });
    expect([statusCode, body]).toEqual([400, expect.stringContaining('boxes')]);
  });

  it('with the server is said without its insides, and goes to stderr', async () => {
    const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const encode = vi.spyOn(model, 'encode').mockRejectedValueOnce(new Error('secret'));
    const response = await send(app);
    const logged = stderr.mock.calls.flat().join('');
    stderr.mockRestore();
    encode.mockRestore();
    expect(response.statusCode).toBe(500);
    expect(response.body).not.toContain('secret');
    expect(logged).toContain('secret');
  });

  it('does not pile up: what is too much is turned away', async () => {
    const busy = serve({ requests: 2 });
    const answers = await Promise.all([1, 2, 3, 4].map(() => send(busy)));
    expect(answers.map(({ statusCode }) => statusCode).toSorted()).toEqual([201, 201, 503, 503]);
    const away = answers.find(({ statusCode }) => statusCode === 503)!;
    expect(away.headers['retry-after']).toBe('1');
    expect(away.json().error.code).toBe('ERR_BUSY');
    expect((await send(busy)).statusCode).toBe(201);
  });

  it('is bounded in what is decoded at a time', async () => {
    const original = model.encode.bind(model);
    const encode = vi.spyOn(model, 'encode');
    let [now, most] = [0, 0];
    encode.mockImplementation(async (...given) => {
      most = Math.max(most, ++now);
      try {
        return await original(...given);
      } finally {
        now--;
      }
    });
    const answers = await Promise.all(Array.from({ length: 6 }, () => send(app)));
    encode.mockRestore();
    expect(answers.map(({ statusCode }) => statusCode)).toEqual(Array(6).fill(201));
    expect(most).toBe(2);
  });

  it('counts bodies that are still on their way, and forgets them with their client', async () => {
    const server = serve({ pictureBytes: 1000, requests: 9 });
    const address = await server.listen({ port: 0 });
    const sockets = [1, 2, 3, 4].map(() => {
      const socket = connectTo(address);
      socket.write(post('/images', 'image/png', 'ab', 1000));
      return socket;
    });
    await vi.waitFor(async () => expect(await requests(server)).toBe(4), 10_000);
    // Of the largest pictures four, of small ones more.
    const body = Buffer.alloc(900);
    expect((await send(server, body)).json().error).toMatchObject({ code: 'ERR_BUSY' });
    for (const socket of sockets) socket.destroy();
    await vi.waitFor(async () => expect(await requests(server)).toBe(0), 10_000);
    expect((await send(server, body)).json().error).toMatchObject({ code: 'ERR_IMAGE' });
    expect((await send(server, Buffer.alloc(1001))).statusCode).toBe(413);
    expect(await requests(server)).toBe(0);
  });

  it('forgets what waits behind other requests of a connection with its client', async () => {
    const server = serve();
    const address = await server.listen({ port: 0 });
    const id = await sent(server);
    const socket = connectTo(address);
    const everything = post(`/images/${id}/everything`, 'application/json', '{"pointsPerSide": 64}');
    socket.write(everything + everything + post('/images', 'image/png', 'ab', 1000));
    await vi.waitFor(async () => expect(await requests(server)).toBe(3), 10_000);
    socket.destroy();
    await vi.waitFor(async () => expect(await requests(server)).toBe(0), 10_000);
  });

  it('leaves nothing behind on a connection that goes on', async () => {
    const server = serve();
    let connection: Socket | undefined;
    server.server.on('connection', (socket) => {
      connection = socket;
    });
    const socket = connectTo(await server.listen({ port: 0, host: '127.0.0.1' }));
    const counts: number[] = [];
    for (const _ of [1, 2, 3]) {
      socket.write(post('/images', 'image/png', 'no picture'));
      await once(socket, 'data');
      await vi.waitFor(async () => expect(await requests(server)).toBe(0));
      counts.push(connection!.listenerCount('close'));
    }
    socket.destroy();
    expect(new Set(counts).size).toBe(1);
  });

  it('does not keep a client waiting that went away', async () => {
    const server = serve();
    const address = await server.listen({ port: 0 });
    const id = await sent(server);
    const controller = new AbortController();
    const asked = fetch(`${address}/images/${id}/everything`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"pointsPerSide": 64}',
      signal: controller.signal,
    });
    await vi.waitFor(async () => expect(await requests(server)).toBe(1), 10_000);
    controller.abort();
    await expect(asked).rejects.toThrow();
    await vi.waitFor(async () => expect(await requests(server)).toBe(0), 10_000);
  });

  it('makes no outlines for a client that went away', async () => {
    const server = serve();
    const address = await server.listen({ port: 0 });
    const id = await sent(server);
    const controller = new AbortController();
    const polygons = vi.spyOn(Mask.prototype, 'polygons').mockImplementation(() => {
      controller.abort();
      return [];
    });
    const boxes = Array.from({ length: 128 }, () => [10, 10, 50, 50]);
    const asked = fetch(`${address}/images/${id}/masks`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ boxes, polygons: true }),
      signal: controller.signal,
    });
    await expect(asked).rejects.toThrow();
    await vi.waitFor(async () => expect(await requests(server)).toBe(0), 10_000);
    expect(polygons.mock.calls.length).toBeLessThan(boxes.length);
    polygons.mockRestore();
  });
});

describe('the end', () => {
  it('comes when what has begun is answered, whatever else has not come in whole', async () => {
    const server = serve();
    const address = await server.listen({ port: 0, host: '127.0.0.1' });
    const id = await sent(server);
    const release = holdEverything();
    const asked = fetch(`${address}/images/${id}/everything`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: '{"pointsPerSide": 1}',
    });
    connectTo(address).write(post('/images', 'image/png', 'ab', 1000));
    connectTo(address).write('GET / HTTP/1.1\r\n');
    await vi.waitFor(async () => expect(await requests(server)).toBe(2), 10_000);
    const closed = server.close();
    const late = await fetch(`${address}/health`);
    expect([late.status, await late.json()]).toEqual([
      503,
      { error: { code: 'ERR_BUSY', message: 'the server is closing' } },
    ]);
    release();
    expect((await asked).status).toBe(200);
    await closed;
  });
});

describe('the page', () => {
  it.each([
    ['/', 'text/html'],
    ['/page.js', 'text/javascript'],
    ['/page.css', 'text/css'],
  ])('has %s', async (url, type) => {
    const { statusCode, headers, body } = await app.inject(url);
    expect(statusCode).toBe(200);
    expect(headers['content-type']).toContain(type);
    expect(headers['content-security-policy']).toContain("default-src 'self'");
    expect(body.length).toBeGreaterThan(500);
  });
});
