import { setTimeout } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import type { LogEntry } from '../../lib/server/metrics.js';
import { ask, connectTo, holdEverything, IMAGE, png, post, send, sent, serve } from './support.js';

const metrics = async (server: ReturnType<typeof serve>) => (await server.inject('/metrics')).body;

describe('metrics', () => {
  it('count requests by route, not by what strangers ask for', async () => {
    const server = serve();
    const id = await sent(server);
    await ask(id, { points: [[1, 1]] }, 'masks', server);
    await ask(id, { points: [[-1, 1]] }, 'masks', server);
    await server.inject('/secret"}');
    const told = await metrics(server);
    expect(told).toContain('hrsam_requests_total{method="POST",route="/images",status="201"} 1\n');
    expect(told).toContain('hrsam_requests_total{method="POST",route="/images/:id/masks",status="200"} 1\n');
    expect(told).toContain('hrsam_requests_total{method="POST",route="/images/:id/masks",status="400"} 1\n');
    expect(told).toContain('hrsam_requests_total{method="GET",route="none",status="404"} 1\n');
    expect(told).toContain('hrsam_request_duration_seconds_count{route="/images/:id/masks"} 2\n');
    expect(told).toContain('hrsam_request_duration_seconds_bucket{le="+Inf",route="/images"} 1\n');
    expect(told).toMatch(/^hrsam_images 1$/m);
    expect(told).not.toContain('secret');
    expect(told).toMatch(/^process_resident_memory_bytes \d+$/m);
    expect(told).toMatch(/^hrsam_device_bytes\{device="\w+(:\d)?",kind="weights"\} \d+$/m);
  });

  it('count a client that left, once', async () => {
    const log: LogEntry[] = [];
    const server = serve({ log: (entry) => log.push(entry) });
    const address = await server.listen({ port: 0 });
    const id = await sent(server);
    const release = holdEverything();
    const client = connectTo(address);
    client.write(post(`/images/${id}/everything`, 'application/json', '{}'));
    while (!/under_way 1$/m.test(await metrics(server))) await setTimeout(5);
    client.destroy();
    while (!(await metrics(server)).includes('everything",status="499"} 1\n')) await setTimeout(5);
    release();
    await setTimeout(20);
    const path = `/images/${id}/everything`;
    expect(log.filter(({ url }) => url === path)).toMatchObject([{ method: 'POST', status: 499 }]);
  });

  it('come as a log, a line for each request', async () => {
    const log: LogEntry[] = [];
    const server = serve({ requests: 1, log: (entry) => log.push(entry) });
    await send(server, png, '?size=64');
    expect(log).toEqual([
      {
        time: expect.stringMatching(/^\d{4}-.*Z$/),
        method: 'POST',
        url: '/images?size=64',
        status: 201,
        ms: expect.any(Number),
        remote: '127.0.0.1',
      },
    ]);
  });
});

describe('pages of another origin', () => {
  const preflight = {
    origin: 'https://a.example',
    'access-control-request-method': 'POST',
    'access-control-request-headers': 'content-type',
  };

  it('are kept away', async () => {
    const answer = await serve().inject({ method: 'OPTIONS', url: '/images', headers: preflight });
    expect(answer.statusCode).toBe(404);
    expect(answer.headers).not.toHaveProperty('access-control-allow-origin');
  });

  it('may use the server where they are allowed to, and see its errors', async () => {
    const server = serve({ allowOrigin: 'https://a.example' });
    const asked = await server.inject({ method: 'OPTIONS', url: '/images', headers: preflight });
    expect(asked.statusCode).toBe(204);
    expect(asked.headers['access-control-allow-methods']).toContain('POST');
    expect(asked.headers['access-control-allow-headers']).toContain('content-type');
    for (const body of [png, Buffer.from('no picture')]) {
      const { headers } = await server.inject({ method: 'POST', url: '/images', headers: IMAGE, body });
      expect(headers['access-control-allow-origin']).toBe('https://a.example');
    }
  });
});
