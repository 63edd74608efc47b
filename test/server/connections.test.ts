import { once } from 'node:events';
import type { Socket } from 'node:net';
import { setTimeout } from 'node:timers/promises';
import Fastify from 'fastify';
import { describe, expect, it, vi } from 'vitest';
import { Mask } from '../../lib/predictor/mask.js';
import { Gate } from '../../lib/server/gate.js';
import { app, connectTo, holdEverything, model, post, requests, send, sent, serve } from './support.js';

describe('many clients', () => {
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
    const original = model.encodeBatch.bind(model);
    const encode = vi.spyOn(model, 'encodeBatch');
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
    // Nor does the end of the server wait for somebody to take the answers.
    const begin = performance.now();
    await server.close();
    expect(performance.now() - begin).toBeLessThan(4000);
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

describe('answers that nobody takes', () => {
  const answer = 'x'.repeat(32 << 20);
  const waiting = async (patience: number) => {
    const gate = new Gate(9, 1e9, patience);
    const server = Fastify();
    server.post(
      '/',
      gate.computing(async () => answer),
    );
    const socket = connectTo(await server.listen({ port: 0, host: '127.0.0.1' }));
    socket.pause();
    socket.write(post('/', 'application/json', '{}'));
    const closed = once(socket, 'close');
    return { gate, socket, closed, [Symbol.asyncDispose]: () => server.close() };
  };

  it('count as requests until they are taken', async () => {
    await using server = await waiting(60_000);
    const { gate, socket } = server;
    await vi.waitFor(() => expect(gate.working).toBe(1), 10_000);
    await setTimeout(100);
    expect(gate.working).toBe(1);
    let taken = 0;
    socket.on('data', (bytes) => {
      taken += bytes.length;
    });
    socket.resume();
    await vi.waitFor(() => expect(taken).toBeGreaterThan(answer.length), 5000);
    await vi.waitFor(() => expect(gate.working).toBe(0), 10_000);
    socket.destroy();
  });

  it('leave their patience to no other: the next answer of a connection may take longer', async () => {
    const gate = new Gate(9, 1e9, 200);
    const server = Fastify();
    let count = 0;
    server.post(
      '/',
      gate.computing(async () => setTimeout(count++ === 0 ? 0 : 900, `answer ${count}`)),
    );
    const socket = connectTo(await server.listen({ port: 0, host: '127.0.0.1' }));
    socket.write(post('/', 'application/json', '{}') + post('/', 'application/json', '{}'));
    let said = '';
    socket.on('data', (bytes) => {
      said += bytes;
    });
    await vi.waitFor(() => expect(said).toMatch(/answer 1.*answer 2/s), 10_000);
    socket.destroy();
    await server.close();
  });

  it('go with their client, and after a while without it', async () => {
    await using left = await waiting(60_000);
    await vi.waitFor(() => expect(left.gate.working).toBe(1), 10_000);
    await setTimeout(50);
    left.socket.destroy();
    await vi.waitFor(() => expect(left.gate.working).toBe(0), 10_000);
    await using idle = await waiting(300);
    await vi.waitFor(() => expect(idle.gate.working).toBe(1), 10_000);
    await vi.waitFor(() => expect(idle.gate.working).toBe(0), 5000);
    idle.socket.resume();
    await idle.closed;
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
