import { lstat } from 'node:fs/promises';
import { dirname, extname } from 'node:path';
import { isFolder, PICTURES } from '../data/files.js';
import { HrsamError } from '../errors.js';
import { cannotWrite, realPath } from '../files.js';
import { hideProgress } from './progress.js';
import { usageError } from './usage.js';

// Names and metadata come from files of anyone: none of them moves a terminal's cursor.
// biome-ignore lint/suspicious/noControlCharactersInRegex: those are what is looked for
const CONTROL = /[\x00-\x08\x0b-\x1f\x7f-\x9f]/g;

export const printable = (text: string): string =>
  text.replace(CONTROL, (c) => `\\x${c.charCodeAt(0).toString(16).padStart(2, '0')}`);

export const print = (text: string): void => {
  process.stdout.write(`${printable(text)}\n`);
};

/** What goes wrong on the way, on stderr. */
export const warn = (text: string): void => {
  hideProgress();
  process.stderr.write(`hrsam: ${printable(text)}\n`);
};

export const printJson = (value: unknown, indent = 2): void => {
  // JSON.stringify escapes the others itself.
  const escaped = (c: string) => `\\u00${c.charCodeAt(0).toString(16)}`;
  process.stdout.write(`${JSON.stringify(value, null, indent).replace(/[\x7f-\x9f]/g, escaped)}\n`);
};

/**
 * Ends with ERR_FILE before the work rather than after it when an output cannot be written.
 * @param paths those that are written
 * @param inputs files that are read and must stay as they are
 */
export async function checkOutputs(
  paths: readonly (string | undefined)[],
  inputs: readonly (string | undefined)[] = [],
): Promise<void> {
  const read = new Set(await Promise.all(inputs.filter((path) => path !== undefined).map(realPath)));
  const written = new Set<string>();
  for (const path of paths.filter((path) => path !== undefined)) {
    const target = await realPath(path);
    if (read.has(target)) throw new HrsamError('ERR_FILE', 'would overwrite what is read', { where: path });
    if (written.has(target)) throw new HrsamError('ERR_FILE', 'two outputs have one name', { where: path });
    written.add(target);
    await lstat(path).catch((cause: NodeJS.ErrnoException) => {
      if (cause.code === 'ENAMETOOLONG') throw cannotWrite(path, cause);
    });
    const folder = dirname(path);
    if (!(await isFolder(folder))) {
      throw new HrsamError('ERR_FILE', 'cannot be written: there is no such folder', { where: path });
    }
    if (await isFolder(path))
      throw new HrsamError('ERR_FILE', 'cannot be written: it is a folder', { where: path });
  }
}

/** What is written is safetensors, whatever its name: one that promises another format is a mistake. */
export function expectSafetensors(path: string): void {
  if (PICTURES.test(path) || /\.pth?$/i.test(path))
    usageError(`the output is .safetensors, not ${extname(path)}`);
}

/** `mask.png` for one file of one; `mask-0.png`, `mask-1.png` … for several. */
export function numbered(path: string, index: number, count: number): string {
  if (count === 1) return path;
  const extension = extname(path);
  return `${path.slice(0, path.length - extension.length)}-${index}${extension}`;
}

/** Columns padded to their widest entry; numbers to the right. */
export function table(
  header: readonly string[],
  rows: readonly (readonly string[])[],
  left: readonly number[] = [0],
): string {
  const widths = header.map((title, i) => Math.max(title.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells
      .map((cell, i) => (left.includes(i) ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)))
      .join('  ')
      .trimEnd();
  return [header, ...rows].map(line).join('\n');
}

const UNITS = ['B', 'KB', 'MB', 'GB', 'TB'];

/** 1.21 GB, 512 B: decimal units. */
export function formatBytes(bytes: number): string {
  const unit = Math.min(UNITS.length - 1, Math.max(0, Math.floor(Math.log10(Math.max(1, bytes)) / 3)));
  const value = bytes / 1000 ** unit;
  return `${unit === 0 || value >= 100 ? value.toFixed(0) : value.toPrecision(3)} ${UNITS[unit]}`;
}

/** A dash for what was never measured. */
export function formatMs(ms: number): string {
  if (Number.isNaN(ms)) return '-';
  return ms >= 1000 ? `${(ms / 1000).toFixed(2)} s` : `${ms.toFixed(ms < 10 ? 2 : 1)} ms`;
}
