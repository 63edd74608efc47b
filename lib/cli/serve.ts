import { once } from 'node:events';
import { createServer as createListener } from 'node:net';
import { Command } from 'commander';
import { HrsamError } from '../errors.js';
import { checkOrigin, SERVER_DEFAULTS, SERVER_LIMITS } from '../server/options.js';
import { interruption } from './interrupt.js';
import { loadModels } from './model.js';
import { addModelOptions, type ModelOptions, wholeNumber, zoomOption } from './options.js';
import { formatBytes, print, printJson, warn } from './output.js';

interface ServeCommandOptions extends ModelOptions {
  host: string;
  port: number;
  memory: number;
  maxPixels: number;
  maxSize: number;
  requests: number;
  batch?: number;
  zoom?: boolean;
  allowOrigin?: string;
  log?: boolean;
}

const HELP = `
POST   /images[?size=1024]      a picture's bytes (Content-Type: image/…), ${SERVER_DEFAULTS.pictureBytes / 1e6} MB at most → { id, width, height, … };
                                &coarseToFine=false answers at full size alone, where the weights say otherwise;
                                &zoom=true or false whatever --zoom says: a click then may take an encoding
POST   /images/<id>/masks       { points, labels, box, boxes, multimask, refinements, minRegion, mask,
                                polygons } → { masks }.
                                ${SERVER_LIMITS.points} points and ${SERVER_LIMITS.boxes} boxes at most. multimask: false, one mask (default); true, the three
                                alternatives; "best", the one with the highest predicted IoU; "auto", the best
                                alternative for one click or a box alone, one mask beyond. mask: the id of one of the
                                picture's last ${SERVER_LIMITS.masks} masks, to be refined. refinements: times a first answer is, before it
                                is given. minRegion: share of the largest clicked region from which others stay. With
                                Accept: image/png the first mask as a picture
POST   /images/<id>/everything  { pointsPerSide, minScore, minStability, maxOverlap, polygons } → { masks }, the best
                                first, ${SERVER_LIMITS.found} at most; pointsPerSide up to ${SERVER_LIMITS.pointsPerSide}. With Accept: application/x-ndjson lines:
                                { done, total } as it goes on, then { masks }, or { error }
DELETE /images/<id>             forgets the picture
GET    /health                  the model and what is held; 503 while the server closes, and once no device is left:
                                a GPU that has failed is left out ("lost"), only a restart brings it back
GET    /metrics                 requests, durations, memory, for Prometheus
GET    /                        a page to click on pictures

Masks have score, area, bbox, rle (COCO) and, on request, polygons; errors are { error: { code, message } }. Several
devices (--device cuda:0,cuda:1) each hold the weights and share the pictures. Whoever reaches the port may use it: it
is open to this machine alone unless --host says otherwise. Ctrl-C ends it after the requests under way.

Examples:
  $ hrsam serve
  $ hrsam serve -w hrsam_b.safetensors --dtype bf16 --host 0.0.0.0 --port 80 --memory 8000
  $ hrsam serve -w hrsam_b.safetensors --dtype bf16 --device cuda:0,cuda:1 --batch 16 --requests 256
  $ curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' localhost:8080/images`;

export function serveCommand(): Command {
  const { memory, maxPixels, maxSize, requests, batch } = SERVER_DEFAULTS;
  const command = new Command('serve')
    .description('answer prompts over HTTP, and show a page to click on pictures')
    .option('--host <address>', 'where to listen', '127.0.0.1')
    .option('--port <n>', '0: any that is free', wholeNumber(0, 65535), 8080)
    .option('--memory <MB>', 'encoded pictures that are kept', wholeNumber(1), memory / 1e6)
    .option('--max-pixels <millions>', 'of a picture, width × height', wholeNumber(1), maxPixels / 1e6)
    .option('--max-size <pixels>', 'the largest size that may be asked for', wholeNumber(1), maxSize)
    .option('--requests <n>', 'that may wait; further ones get 503', wholeNumber(1), requests)
    .option(
      '--batch <n>',
      `pictures that are encoded together at most, of those that wait (default: ${batch.cuda}, on the CPU ${batch.cpu})`,
      wholeNumber(1),
    )
    .addOption(zoomOption())
    .option(
      '--allow-origin <origin>',
      'pages of it may use the server, too (CORS): https://example.org, or *',
    )
    .option('--log', 'a line of JSON on stdout for each request');
  return addModelOptions(command).addHelpText('after', HELP).action(serve);
}

async function serve(options: ServeCommandOptions): Promise<void> {
  const { host, port, memory, maxPixels, maxSize, requests, batch, zoom, allowOrigin, log } = options;
  // From a variable that is not set: it would mean every interface.
  if (host === '') throw new HrsamError('ERR_ARGUMENT', '--host', { expected: 'an address or a name' });
  checkOrigin(allowOrigin);
  const signal = interruption();
  await listening(host, port, async () => {
    // At once: loading a model may take long.
    const listener = createListener();
    await once(listener.listen(port, host), 'listening');
    listener.close();
    await once(listener, 'close');
  });
  const { createServer } = await import('../server/server.js');
  const { pictureBytes } = await import('../server/images.js');
  using models = await loadModels(options);
  const least = pictureBytes(models.all[0].config);
  if (memory * 1e6 < least)
    warn(`--memory ${memory} (MB) keeps no picture: one takes ${formatBytes(least)}, all will be refused`);
  const server = createServer(models.all, {
    memory: memory * 1e6,
    maxPixels: maxPixels * 1e6,
    maxSize,
    requests,
    batch,
    zoom,
    allowOrigin,
    log: log ? (entry) => printJson(entry, 0) : undefined,
  });
  const address = await listening(host, port, () => server.listen({ host, port }));
  print(`hrsam on ${models.device}: ${address}`);
  // Whoever watches it is told when it ends without being asked to, as where nobody reads the log any more.
  process.exitCode = 1;
  if (!signal.aborted) await new Promise((resolve) => signal.addEventListener('abort', resolve));
  await server.close();
  process.exitCode = 0;
}

async function listening<T>(host: string, port: number, listen: () => Promise<T>): Promise<T> {
  try {
    return await listen();
  } catch (cause) {
    const { message } = cause as Error;
    throw new HrsamError('ERR_ARGUMENT', `cannot listen: ${message}`, { where: `${host}:${port}`, cause });
  }
}
