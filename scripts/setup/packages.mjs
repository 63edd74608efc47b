import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const readLock = (path) => {
  try {
    return JSON.parse(readFileSync(path, 'utf8')).packages;
  } catch {
    return undefined; // not there, or cut short by an install that broke off
  }
};

/**
 * Whether node_modules holds what package-lock.json asks for, by the list that npm itself leaves there. Packages for
 * other platforms are optional and may be missing.
 */
export function packagesAreCurrent(root) {
  const wanted = readLock(join(root, 'package-lock.json'));
  const installed = readLock(join(root, 'node_modules/.package-lock.json'));
  if (!wanted || !installed) return false;
  return Object.entries(wanted).every(([path, { version, optional }]) => {
    const found = installed[path];
    return path === '' || (found ? found.version === version : optional === true);
  });
}
