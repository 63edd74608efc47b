#!/usr/bin/env node
// Stands in for node-gyp when prebuildify calls it: the binaries are built by CMake already and only have to be where it
// looks, below the working directory.
import { cpSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

const built = fileURLToPath(new URL('../../build/Release', import.meta.url));
const staged = join(process.cwd(), 'build/Release');
mkdirSync(staged, { recursive: true });
for (const file of readdirSync(built)) {
  if (/\.(node|so|dylib)$/.test(file)) cpSync(join(built, file), join(staged, file));
}
