// Writes the README's tables and their picture from bench/results/*.json, which scripts/measure.sh makes; a device without
// results has none.
//
//   npm run figures
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chart } from './figures/chart.mjs';
import { tables, withTables } from './figures/tables.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
export const README = join(root, 'README.md');
export const CHART = join(root, 'docs/figures.svg');
const RESULTS = join(root, 'bench/results');

function results() {
  const names = existsSync(RESULTS) ? readdirSync(RESULTS).filter((name) => name.endsWith('.json')) : [];
  return Object.fromEntries(
    names.map((name) => [name, JSON.parse(readFileSync(join(RESULTS, name), 'utf8'))]),
  );
}

/** The README as it is to be. */
export const generatedReadme = () => withTables(readFileSync(README, 'utf8'), tables(results()));

/** Its picture; undefined where nothing was compared. */
export const generatedChart = () => chart(results());

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  writeFileSync(README, generatedReadme());
  const picture = generatedChart();
  if (picture) writeFileSync(CHART, picture);
}
