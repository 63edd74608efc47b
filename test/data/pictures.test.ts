import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { pathInside } from '../../lib/data/files.js';
import { indexedFolders, listPictures } from '../../lib/data/pictures.js';
import type { HrsamError } from '../../lib/errors.js';
import { codeOf } from '../support/errors.js';
import { scratch } from '../support/files.js';

const at = scratch('hrsam-pictures-');

const write = (name: string, content: unknown = '') => {
  mkdirSync(dirname(at(name)), { recursive: true });
  writeFileSync(at(name), typeof content === 'string' ? content : JSON.stringify(content));
};

const names = async (folder: string) => (await listPictures(at(folder))).map(({ name }) => name);

describe('listPictures', () => {
  it('finds all files that are pictures by their names', async () => {
    for (const name of ['b.jpg', 'a/z.PNG', 'a/b/c.webp', 'a/notes.txt', '.hidden.png'])
      write(`plain/${name}`);
    expect(await names('plain')).toEqual(['a/b/c.webp', 'a/z.PNG', 'b.jpg']);
  });

  it('takes what a list names, each picture once', async () => {
    write('set/index.json', [
      { image: 'y.jpg', mask: '1.png' },
      { image: 'x/x.jpg', mask: '2.png' },
      { image: 'y.jpg', mask: '3.png' },
    ]);
    write('set/unlisted.jpg');
    expect(await names('set')).toEqual(['x/x.jpg', 'y.jpg']);
  });

  it('takes the lists of folders in a folder', async () => {
    for (const set of ['b', 'a']) write(`sets/${set}/index.json`, [{ image: 'x.jpg', mask: 'x.png' }]);
    write('sets/c/x.jpg');
    expect(await names('sets')).toEqual(['a/x.jpg', 'b/x.jpg']);
    expect(await indexedFolders(at('sets'))).toEqual(['a', 'b'].map((set) => at('sets', set)));
  });

  it('leaves out entries that name no file of their folder, and says so', async () => {
    const good = { image: 'x.jpg', mask: 'x.png' };
    write('bad/index.json', [
      null,
      { ...good, image: '../set/y.jpg' },
      { ...good, image: '/etc/x.jpg' },
      good,
    ]);
    const errors: HrsamError[] = [];
    const found = await listPictures(at('bad'), (error) => errors.push(error));
    expect(found).toEqual([{ name: 'x.jpg', path: at('bad', 'x.jpg') }]);
    expect(errors.map(({ code, where }) => [code, where?.slice(-7)])).toEqual(
      [0, 1, 2].map((i) => ['ERR_FILE', `entry ${i}`]),
    );
  });

  it.each(['nowhere', 'plain/b.jpg', 'empty', 'list'])('%s: an error', async (name) => {
    mkdirSync(at('empty'), { recursive: true });
    write('list/index.json', '[{');
    expect(await codeOf(() => listPictures(at(name)))).toBe('ERR_FILE');
  });
});

describe('pathInside', () => {
  it.each(['../x', 'a/../../x', '/x', '..'])('refuses %s', async (path) => {
    expect(await codeOf(() => pathInside('/data/set', path, 'list'))).toBe('ERR_FILE');
  });

  it('resolves what stays inside', () => {
    expect(pathInside('/data/set', 'a/../b.png', 'list')).toBe(join('/data/set', 'b.png'));
    expect(pathInside('/data/set', '..x.jpg', 'list')).toBe(join('/data/set', '..x.jpg'));
  });
});
