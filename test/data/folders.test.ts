import { constants } from 'node:buffer';
import { existsSync, readFileSync, statSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { readJson } from '../../lib/data/files.js';
import { makeFolder, writeWhole } from '../../lib/files.js';
import { errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';

const at = scratch('hrsam-folders-');

describe('makeFolder', () => {
  it('makes those above it, and is content with one that is there', async () => {
    const path = at('a/b/c');
    await Promise.all([makeFolder(path), makeFolder(path), makeFolder(at('a/b/d'))]);
    await makeFolder(path);
    expect(statSync(path).isDirectory()).toBe(true);
  });

  it('says what cannot be made', async () => {
    writeFileSync(at('file'), '');
    for (const [path, why] of [
      [at('file'), ': what has that name is no folder'],
      [at('file/below'), ' (ENOTDIR)'],
    ] as const) {
      const error = await errorOf(() => makeFolder(path));
      expect([error.code, error.message]).toEqual(['ERR_FILE', `${path}: cannot be made${why}`]);
    }
  });

  it.runIf(existsSync('/proc/self'))('ends where no folder can be made', async () => {
    for (const path of ['/proc/hrsam', '/proc/hrsam/run'])
      expect((await errorOf(() => makeFolder(path))).code).toBe('ERR_FILE');
  });
});

describe('writeWhole', () => {
  it('says what failed, not what clearing it away did', async () => {
    const path = at('whole');
    await writeWhole(path, 'a');
    const error = await errorOf(() => writeWhole(join(path, 'below'), 'b'));
    expect([error.code, error.message]).toEqual([
      'ERR_FILE',
      expect.stringContaining('below: cannot be written (ENOTDIR)'),
    ]);
  });

  it('takes the longest name that a file can have', async () => {
    await writeWhole(at('y'.repeat(255)), 'c');
    expect(readFileSync(at('y'.repeat(255)), 'utf8')).toBe('c');
  });
});

describe('readJson', () => {
  it('says how much it takes, and what to do about more', async () => {
    const path = at('long.json');
    writeFileSync(path, '[]');
    expect(await readJson(path)).toEqual([]);
    truncateSync(path, constants.MAX_STRING_LENGTH + 1); // takes no room on the disk
    const { code, message } = await errorOf(() => readJson(path));
    expect([code, message]).toEqual([
      'ERR_FILE',
      expect.stringMatching(
        `at most ${constants.MAX_STRING_LENGTH} bytes: split it, .* got ${constants.MAX_STRING_LENGTH + 1}`,
      ),
    ]);
  });
});
