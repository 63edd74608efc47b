// Writes the README's tables from bench/results/*.json, which scripts/measure.sh makes; a device without results has none.
//
//   npm run figures
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { tables, withTables } from './figures/tables.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
export const README = join(root, 'README.md');
const RESULTS = join(root, 'bench/results');

/** The README as it is to be. */
export function generatedReadme() {
  const names = existsSync(RESULTS) ? readdirSync(RESULTS).filter((name) => name.endsWith('.json')) : [];
  const documents = Object.fromEntries(
    names.map((name) => [name, JSON.parse(readFileSync(join(RESULTS, name), 'utf8'))]),
  );
  return withTables(readFileSync(README, 'utf8'), tables(documents));
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  writeFileSync(README, generatedReadme());
}
