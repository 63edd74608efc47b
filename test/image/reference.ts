import { existsSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const ROOTS = ['../fixtures/', '../../../shared/reference/'];

/** Path of a reference file: the project's copy, else the one beside the project; undefined when neither is there. */
export function referencePath(name: string): string | undefined {
  return ROOTS.map((root) => fileURLToPath(new URL(root + name, import.meta.url))).find((path) =>
    existsSync(path),
  );
}

/** A JSON file of the reference values. */
// biome-ignore lint/suspicious/noExplicitAny: its layout is the reference's own
export function referenceJson(name: string): any {
  const path = referencePath(name);
  if (path === undefined) throw new Error(`${name} is missing: copy the fixtures first`);
  return JSON.parse(readFileSync(path, 'utf8'));
}
