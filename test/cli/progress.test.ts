import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { warn } from '../../lib/cli/output.js';
import { progressBar, statusLine } from '../../lib/cli/progress.js';

const COLUMNS = 50;
const before = { isTTY: process.stderr.isTTY, columns: process.stderr.columns };
let written = '';

beforeEach(() => {
  Object.assign(process.stderr, { isTTY: true, columns: COLUMNS });
  written = '';
  vi.spyOn(process.stderr, 'write').mockImplementation((text) => {
    written += text;
    return true;
  });
});
afterEach(() => {
  vi.restoreAllMocks();
  Object.assign(process.stderr, before);
});

/** Lines of a terminal that knows what a progress needs: what is written over is gone. */
function screen(): string[] {
  const lines = [''];
  let saved = 0;
  let row = 0;
  let column = 0;
  // biome-ignore lint/suspicious/noControlCharactersInRegex: a terminal's own
  for (const [part, , command] of written.matchAll(/\x1b(\[\??(?:\d*)([A-Za-z])|[78])|\r|\n|[^\x1b\r\n]/gu)) {
    if (part === '\x1b7') saved = row;
    else if (part === '\x1b8') row = saved;
    else if (part === '\r' || command === 'G') column = 0;
    else if (part === '\n') [row, column] = [row + 1, 0];
    else if (part === '\x1b[2K') lines[row] = '';
    else if (command === 'K') lines[row] = lines[row]!.slice(0, column);
    else if (command === undefined) {
      if (column === COLUMNS) [row, column] = [row + 1, 0];
      lines[row] ??= '';
      lines[row] = lines[row]!.slice(0, column) + part + lines[row]!.slice(++column);
    }
    lines[row] ??= '';
  }
  return lines;
}

test('a line that is longer than the terminal is wide stays one line', () => {
  const line = statusLine(0, -Infinity);
  line.show(() => 'step 1 of 2  loss 0.9080  iou1 0.274  3.4 samples/s');
  expect(screen()).toEqual(['step 1 of 2  loss 0.9080  iou1 0.274  3.4 samples']);
  line.end();
  expect(screen()).toEqual(['']);
});

test('notes stand on lines of their own', () => {
  const line = statusLine(0, -Infinity);
  line.show(() => 'step 1');
  warn('left out: a.jpg');
  expect(screen()).toEqual(['hrsam: left out: a.jpg', '']);
  line.end();
});

test('a bar that ends leaves the notes', async () => {
  const now = vi.spyOn(performance, 'now').mockReturnValue(0);
  const bar = await progressBar('b');
  now.mockReturnValue(1000);
  for (let i = 0; i < 3; i++) {
    bar.update(i, 3);
    warn(`left out: ${i}`);
  }
  bar.end();
  expect(screen()).toEqual(['hrsam: left out: 0', 'hrsam: left out: 1', 'hrsam: left out: 2', '']);
});
