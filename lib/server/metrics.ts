import type { FastifyInstance, FastifyRequest } from 'fastify';
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client';
import type { HRSAM } from '../predictor/hrsam.js';
import type { Gate } from './gate.js';
import type { HeldImages } from './images.js';

/** A request that was answered, or whose client left: 499. */
export interface LogEntry {
  /** When it ended, ISO 8601. */
  time: string;
  method: string;
  url: string;
  status: number;
  /** From its first byte to the last of its answer. */
  ms: number;
  remote: string;
}

/** Upper bounds of durations that are counted together, seconds: from a click on a GPU to everything on a CPU. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60];

interface Watched {
  models: readonly HRSAM[];
  images: HeldImages;
  gate: Gate;
  log?: (entry: LogEntry) => void;
}

/** Counts requests for `GET /metrics`, in Prometheus' text format, and tells `log` of each. */
export function watch(app: FastifyInstance, { log, ...watched }: Watched): void {
  const register = new Registry();
  const registers = [register];
  collectDefaultMetrics({ register });
  measureHeld(registers, watched);
  const requests = new Counter({
    name: 'hrsam_requests_total',
    help: 'Requests that ended; 499: the client left.',
    labelNames: ['method', 'route', 'status'],
    registers,
  });
  const durations = new Histogram({
    name: 'hrsam_request_duration_seconds',
    help: 'From the first byte of a request to the last of its answer.',
    labelNames: ['route'],
    buckets: BUCKETS,
    registers,
  });

  /** Requests that have not ended: when they began, and what is told when their connection closes. */
  const open = new WeakMap<FastifyRequest, { begin: number; gone: () => void }>();
  const ended = (request: FastifyRequest, status: number): void => {
    const found = open.get(request);
    if (!found) return;
    open.delete(request);
    request.raw.socket.off('close', found.gone);
    const { method, url, ip } = request;
    const ms = Math.round((performance.now() - found.begin) * 100) / 100;
    log?.({ time: new Date().toISOString(), method, url, status, ms, remote: ip });
    // The route as it was declared: neither ids nor what strangers ask for become labels.
    const route = request.routeOptions.url ?? 'none';
    requests.inc({ method, route, status });
    durations.observe({ route }, ms / 1000);
  };
  app.addHook('onRequest', async (request) => {
    // A request whose body has come in whole has no event of its own for it.
    const gone = () => ended(request, 499);
    open.set(request, { begin: performance.now(), gone });
    request.raw.socket.setMaxListeners(0).once('close', gone);
  });
  app.addHook('onResponse', async (request, reply) => ended(request, reply.statusCode));

  app.get('/metrics', async (_, reply) => {
    reply.type(register.contentType);
    return register.metrics();
  });
}

/** What is held at the time it is asked for. */
function measureHeld(registers: Registry[], { models, images, gate }: Omit<Watched, 'log'>): void {
  const gauge = (name: string, help: string, value: () => number) =>
    new Gauge({
      name,
      help,
      registers,
      collect() {
        this.set(value());
      },
    });
  gauge('hrsam_requests_under_way', 'Requests that compute or wait for it.', () => gate.working);
  gauge('hrsam_images', 'Encoded pictures that are kept.', () => images.count);
  gauge('hrsam_images_bytes', 'Memory set aside for them.', () => images.bytes);
  new Gauge({
    name: 'hrsam_device_lost',
    help: '1: the device has failed, and this process cannot use it any more.',
    labelNames: ['device'],
    registers,
    collect() {
      for (const { device } of models) this.set({ device: device.name }, device.lost ? 1 : 0);
    },
  });
  new Gauge({
    name: 'hrsam_device_bytes',
    help: 'Memory of a device: tensors, weights in kernel order, working memory kept for the next run.',
    labelNames: ['device', 'kind'],
    registers,
    collect() {
      for (const { device } of models) {
        const { buffers, packed, cached } = device.memory();
        for (const [kind, bytes] of Object.entries({ tensors: buffers, weights: packed, working: cached }))
          this.set({ device: device.name, kind }, bytes);
      }
    },
  });
}
