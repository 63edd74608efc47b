// Writes the tables of docs/figures.md, the README's among them and their picture from bench/results/*.json, which
// scripts/measure.sh makes; a device without results has none.
//
//   npm run figures
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { chart } from './figures/chart.mjs';
import { tables, withTables } from './figures/tables.mjs';

const root = fileURLToPath(new URL('..', import.meta.url));
const README = join(root, 'README.md');
const FIGURES = join(root, 'docs/figures.md');
const CHART = join(root, 'docs/figures.svg');
const RESULTS = join(root, 'bench/results');

function results() {
  const names = existsSync(RESULTS) ? readdirSync(RESULTS).filter((name) => name.endsWith('.json')) : [];
  return Object.fromEntries(
    names.map((name) => [name, JSON.parse(readFileSync(join(RESULTS, name), 'utf8'))]),
  );
}

/** What is made of the results, by path; a chart only where something was compared. */
export function generated() {
  const documents = results();
  const text = (path, sizes) => withTables(readFileSync(path, 'utf8'), tables(documents, sizes), path);
  const picture = chart(documents);
  return {
    [README]: text(README, ['1024 x 1024']),
    [FIGURES]: text(FIGURES),
    ...(picture && { [CHART]: picture }),
  };
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href)
  for (const [path, content] of Object.entries(generated())) writeFileSync(path, content);
