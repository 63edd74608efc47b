import { text } from 'node:stream/consumers';
import { describe, expect, it, vi } from 'vitest';
import {
  app,
  ask,
  connectTo,
  HEIGHT,
  IMAGE,
  model,
  png,
  refused,
  send,
  sent,
  serve,
  WIDTH,
} from './support.js';

describe('what is wrong', () => {
  it.each([
    [{ points: [[70, 40, 3]] }, /body\.points\[0\]: expected at most 2 items; got 3/],
    [{ points: [['a', 1]] }, /body\.points\[0\]\[0\]: expected a number; got a/],
    [{ point: [[1, 1]] }, /body: an unknown field: point; expected points, .*polygons/],
    [{ points: [[1000, 1]] }, /not a place in the picture/],
    [{ points: [[1, 1]], labels: [1, 1] }, /one label per point/],
    [{ points: [[1, 1]], mask: 'none' }, /no such answer/],
    [{ multimask: 'most', points: [[1, 1]] }, /body\.multimask: expected true, false, "best" or "auto"/],
    [{ minRegion: 2, points: [[1, 1]] }, /minRegion; expected a number from 0 to 1; got 2/],
    [{ refinements: 9, points: [[1, 1]] }, /refinements; expected a whole number from 0 to 8; got 9/],
    [
      { polygons: 1, labels: 1 },
      /body\.labels: expected a list; got 1; body\.polygons: expected true or false; got 1/,
    ],
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
    for (const size of [100, 8192])
      expect(await refused(send(app, png, `?size=${size}`))).toMatchObject({
        statusCode: 400,
        message: `size; expected a multiple of 16 from 16 to 4096; got ${size}`,
      });
    expect(await refused(send(app, png, '?size='))).toMatchObject({ statusCode: 400 });
    expect((await send(app, png, '?size=128&size=64')).json().error.message).toContain(
      'query.size: expected one whole number',
    );
    expect(await refused(send(app, png, '?sise=128'))).toMatchObject({ statusCode: 400 });
    expect(await refused(send(app, png, '?coarseToFine=yes'))).toMatchObject({ statusCode: 400 });
    expect(await refused(app.inject({ method: 'POST', url: '/images', body: {} }))).toMatchObject({
      statusCode: 422,
    });
    expect(await refused(send(serve({ pictureBytes: 100 })))).toMatchObject({
      statusCode: 413,
      message: expect.stringContaining('expected at most 100 bytes'),
    });
    expect(await refused(ask(await sent(app), { mask: 'x'.repeat(2 ** 20) }))).toMatchObject({
      statusCode: 413,
      message: expect.stringContaining('expected at most 1048576 bytes'),
    });
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
      for (const headers of [IMAGE, { 'content-type': 'text/plain' }]) {
        const request = { method: 'POST', url: `/images/${id}/${what}`, headers, body: png } as const;
        const response = await app.inject(request);
        expect(response.statusCode).toBe(415);
        expect(response.json().error.message).toMatch(/; expected application\/json$/);
      }
    }
    const headers = { 'content-type': 'application/json' };
    const response = await app.inject({ method: 'POST', url: '/images', headers, body: '{}' });
    expect(response.json().error).toMatchObject({ code: 'ERR_IMAGE' });
  });

  it.each(['points', 'labels'])('in a prompt of too many %s is said', async (field) => {
    const one = { points: [5, 5], labels: 1 }[field];
    const { statusCode, body } = await ask(await sent(app), {
      box: [0, 0, 9, 9],
      [field]: Array(1025).fill(one),
    });
    expect([statusCode, body]).toEqual([400, expect.stringMatching(`body.${field}: .*1024`)]);
  });

  it('in many boxes at once is said', async () => {
    const boxes = Array.from({ length: 257 }, () => [0, 0, 9, 9]);
    const { statusCode, body } = await ask(await sent(app), { boxes });
    expect([statusCode, body]).toEqual([400, expect.stringContaining('boxes')]);
  });

  it('with the server is said without its insides, and goes to stderr', async () => {
    const stderr = vi.spyOn(process.stderr, 'write').mockReturnValue(true);
    const encode = vi.spyOn(model, 'encodeBatch').mockRejectedValueOnce(new Error('secret'));
    const response = await send(app);
    const logged = stderr.mock.calls.flat().join('');
    stderr.mockRestore();
    encode.mockRestore();
    expect(response.statusCode).toBe(500);
    expect(response.body).not.toContain('secret');
    expect(logged).toContain('secret');
  });
});
