import type { FastifyInstance } from 'fastify';
import { describe, expect, it, vi } from 'vitest';
import { HrsamError } from '../../lib/errors.js';
import { decodeImage } from '../../lib/image/decode.js';
import { decompressRle } from '../../lib/image/rle.js';
import { Mask } from '../../lib/predictor/mask.js';
import { pictureBytes } from '../../lib/server/images.js';
import {
  app,
  ask,
  HEIGHT,
  holdEverything,
  model,
  png,
  pngOf,
  requests,
  send,
  sent,
  serve,
  WIDTH,
} from './support.js';

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
    expect(bytes).toBe(pictureBytes(model.config));
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

  it('lose what is apart from the clicks where it is asked for', async () => {
    const id = await sent(app);
    using image = await model.encode(png);
    const places = Array.from({ length: 24 }, (_, i) => ({
      points: [[10 + 20 * (i % 6), 10 + 20 * (i % 4)]] as [number, number][],
    }));
    const [plain, kept] = await Promise.all(
      [0, 1].map(async (minRegion) => (await image.segment(places, { minRegion })).map(([mask]) => mask)),
    );
    const several = places.findIndex((_, i) => kept![i]!.area < plain![i]!.area);
    const [mask] = (await ask(id, { ...places[several]!, minRegion: 1 })).json().masks;
    expect(decompressRle(mask.rle)).toEqual(kept![several]!.rle);
  });

  it('are made again on the part of the picture around them where the server, or a picture’s request, says so', async () => {
    const large = await pngOf(200, 330);
    using image = await model.encode(large, { zoom: true });
    using plain = await model.encode(large);
    const places = Array.from({ length: 24 }, (_, i) => ({
      points: [[25 + 55 * (i % 6), 25 + 50 * (i % 4)]] as [number, number][],
    }));
    const areas = async (asked: typeof image) =>
      (await asked.segment(places, { minRegion: 1 })).map(([{ area }]) => area);
    const [zoomed, without] = [await areas(image), await areas(plain)];
    const changed = zoomed.findIndex((area, i) => area !== without[i]);
    const one = serve({ zoom: true });
    const body = { ...places[changed]!, minRegion: 1 };
    const area = async (server: FastifyInstance, id: string) =>
      (await ask(id, body, 'masks', server)).json().masks[0].area;
    const id = await sent(one, large);
    expect(await area(one, id)).toBe(zoomed[changed]);
    const { bytes, zoom } = (await one.inject('/health')).json();
    expect(zoom).toBe(true);
    expect(await area(one, await sent(one, large, '?zoom=false'))).toBe(without[changed]);
    expect(await area(app, await sent(app, large))).toBe(without[changed]);
    expect(await area(app, await sent(app, large, '?zoom=true'))).toBe(zoomed[changed]);
    const kept = (await one.inject('/health')).json().bytes;
    await one.inject({ method: 'DELETE', url: `/images/${id}` });
    expect(kept - (await one.inject('/health')).json().bytes).toBe(bytes);
    expect(bytes).toBeGreaterThan(200 * 330 * 3);
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

  it('are made and read run by run, so that not all of their logits are in memory', async () => {
    const id = await sent(app);
    const decode = vi.spyOn(model.network, 'decode');
    const runs = new Set<number>();
    const polygons = vi.spyOn(Mask.prototype, 'polygons').mockImplementation(() => {
      runs.add(decode.mock.calls.length);
      return [];
    });
    const boxes = Array.from({ length: 130 }, (_, i) => [i % 40, 2, 50, 40]);
    const { masks } = (await ask(id, { boxes, polygons: true, refinements: 0 })).json();
    polygons.mockRestore();
    decode.mockRestore();
    expect([masks.length, [...runs]]).toEqual([130, [1, 2, 3]]);
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
  const inLines = async (server: FastifyInstance, bounds: object) => {
    const { statusCode, headers, body } = await server.inject({
      method: 'POST',
      url: `/images/${await sent(server)}/everything`,
      headers: { accept: 'application/x-ndjson' },
      payload: bounds,
    });
    const lines = body
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    return { statusCode, type: headers['content-type'], lines };
  };
  const bounds = { pointsPerSide: 9, minScore: 0, minStability: 0 };

  it('says line by line how far it is, where that is asked for', async () => {
    const { statusCode, type, lines } = await inLines(app, bounds);
    expect(statusCode).toBe(200);
    expect(type).toBe('application/x-ndjson');
    const { masks } = lines.pop();
    expect(lines.at(-1)).toEqual({ done: 81, total: 81 });
    expect(lines.map(({ done }) => done)).toEqual(lines.map(({ done }) => done).toSorted((a, b) => a - b));
    expect(new Set(lines.map(({ done }) => done)).size).toBe(lines.length);
    const plain = (await ask(await sent(app), bounds, 'everything')).json();
    expect(masks).toEqual(plain.masks);
  });

  it('says in its last line what went wrong on the way, and before the first as ever', async () => {
    expect(await inLines(app, { pointsPerSide: 0 })).toMatchObject({
      statusCode: 400,
      type: expect.stringContaining('application/json'),
      lines: [{ error: { code: 'ERR_ARGUMENT' } }],
    });
    const polygons = vi.spyOn(Mask.prototype, 'polygons').mockImplementation(() => {
      throw new HrsamError('ERR_OUT_OF_MEMORY', 'no room');
    });
    const { statusCode, lines } = await inLines(app, { ...bounds, polygons: true });
    polygons.mockRestore();
    expect(statusCode).toBe(200);
    expect(lines.at(-2)).toEqual({ done: 81, total: 81 });
    expect(lines.at(-1)).toEqual({
      error: { code: 'ERR_OUT_OF_MEMORY', message: expect.stringContaining('no room') },
    });
  });

  it('is the best of very many', async () => {
    const id = await sent(app, png, '?size=64');
    const bounds = { pointsPerSide: 40, minScore: 0, minStability: 0, maxOverlap: 1 };
    const { masks } = (await ask(id, bounds, 'everything')).json();
    expect(masks).toHaveLength(1000);
  });
});

describe('the page', () => {
  it.each([
    ['/', 'text/html'],
    ['/page.js', 'text/javascript'],
    ['/run_lengths.js', 'text/javascript'],
    ['/page.css', 'text/css'],
  ])('has %s', async (url, type) => {
    const { statusCode, headers, body } = await app.inject(url);
    expect(statusCode).toBe(200);
    expect(headers['content-type']).toContain(type);
    expect(headers['content-security-policy']).toContain("default-src 'self'");
    expect(body.length).toBeGreaterThan(500);
  });
});
