import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { FastifyInstance } from 'fastify';
import { packageRoot } from '../runtime/addon.js';

const PAGE: Record<string, { file: string; type: string }> = {
  '/': { file: 'index.html', type: 'text/html; charset=utf-8' },
  '/page.js': { file: 'page.js', type: 'text/javascript; charset=utf-8' },
  '/run_lengths.js': { file: 'run_lengths.js', type: 'text/javascript; charset=utf-8' },
  '/page.css': { file: 'page.css', type: 'text/css; charset=utf-8' },
};

/** The page to click on pictures. */
export function servePage(app: FastifyInstance): void {
  for (const [path, { file, type }] of Object.entries(PAGE)) {
    app.get(path, async (_, reply) => {
      reply.type(type).header('content-security-policy', "default-src 'self'; img-src 'self' blob: data:");
      return readFile(join(packageRoot(), 'web', file));
    });
  }
}
