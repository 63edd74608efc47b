import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** Files under a path relative to root, in a fixed order; none where there is nothing. */
function filesUnder(root, path) {
  const status = statSync(join(root, path), { throwIfNoEntry: false });
  if (!status) return [];
  if (status.isFile()) return [path];
  return readdirSync(join(root, path))
    .sort()
    .flatMap((name) => filesUnder(root, `${path}/${name}`));
}

/** A hash of names and contents of all files under `paths` that `keep` takes, and of `extra`. */
export function hashFiles(root, paths, keep = () => true, extra = []) {
  const hash = createHash('sha256');
  const add = (part) => hash.update(`${part.length}:`).update(part);
  for (const text of extra) add(text);
  for (const file of paths.flatMap((path) => filesUnder(root, path)).filter(keep)) {
    add(file);
    add(readFileSync(join(root, file)));
  }
  return hash.digest('hex');
}
