import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import sharp from 'sharp';
import { expect } from 'vitest';
import type { DataSet, LabelledPicture, ObjectMask } from '../../lib/eval/data/dataset.js';
import { openDataSet } from '../../lib/eval/data/open.js';
import type { DataFormat } from '../../lib/eval/formats.js';
import { decodeRle, type Rle } from '../../lib/image/rle.js';
import { scratch } from '../support/files.js';

/** x, y → the values of one pixel. */
export type Paint = (x: number, y: number) => number[];

export interface Sample {
  folder: string;
  path(name: string): string;
  write(name: string, content: Buffer | string): void;
  json(name: string, value: unknown): void;
  /** A picture in the format that its name says. */
  picture(name: string, width: number, height: number, paint?: Paint): Promise<void>;
  /** One 16-bit channel. */
  deep(name: string, width: number, height: number, paint: (x: number, y: number) => number): Promise<void>;
}

/** A data set in a folder that is removed after the tests of the file. */
export function sample(): Sample {
  const at = scratch('hrsam-data-');
  const path = (name: string) => at(name);
  const write = (name: string, content: Buffer | string) => {
    mkdirSync(dirname(path(name)), { recursive: true });
    writeFileSync(path(name), content);
  };
  const each = <T>(width: number, height: number, visit: (x: number, y: number) => T) =>
    Array.from({ length: width * height }, (_, i) => visit(i % width, Math.floor(i / width)));
  return {
    folder: at(),
    path,
    write,
    json: (name, value) => write(name, JSON.stringify(value)),
    async picture(name, width, height, paint = (x, y) => [x * 9, y * 9, 77]) {
      const values = each(width, height, paint);
      const channels = values[0]!.length as 1 | 3;
      if (name.endsWith('.bmp')) return write(name, bitmap(width, height, values));
      const raw = sharp(Uint8Array.from(values.flat()), { raw: { width, height, channels } });
      const grey = channels === 1 ? raw.toColourspace('b-w') : raw;
      write(name, await grey.toFormat(name.endsWith('.png') ? 'png' : 'jpeg').toBuffer());
    },
    async deep(name, width, height, paint) {
      const values = Uint16Array.from(each(width, height, paint));
      const raw = sharp(values, { raw: { width, height, channels: 1 } });
      write(name, await raw.toColourspace('grey16').png().toBuffer());
    },
  };
}

/** 24 bits, rows from the bottom, as Windows writes them. */
function bitmap(width: number, height: number, values: number[][]): Buffer {
  const rowBytes = Math.ceil((width * 3) / 4) * 4;
  const bytes = Buffer.alloc(54 + rowBytes * height);
  bytes.write('BM');
  bytes.writeUInt32LE(bytes.length, 2);
  bytes.writeUInt32LE(54, 10);
  bytes.writeUInt32LE(40, 14);
  bytes.writeInt32LE(width, 18);
  bytes.writeInt32LE(height, 22);
  bytes.writeUInt16LE(1, 26);
  bytes.writeUInt16LE(24, 28);
  values.forEach(([r, g = r, b = r], i) => {
    const at = 54 + (height - 1 - Math.floor(i / width)) * rowBytes + (i % width) * 3;
    bytes.set([b!, g!, r!], at);
  });
  return bytes;
}

/** Rows of a mask as text: # inside. */
export function rows(mask: Rle): string[] {
  const [height, width] = mask.size;
  const pixels = decodeRle(mask);
  return Array.from({ length: height }, (_, y) =>
    Array.from(pixels.subarray(y * width, (y + 1) * width), (value) => (value ? '#' : '.')).join(''),
  );
}

export const area = (mask: Rle): number => decodeRle(mask).reduce((sum, value) => sum + value, 0);

/** Every object's name and mask of a picture. */
export async function objectsOf(picture: LabelledPicture): Promise<Record<string, ObjectMask>> {
  const found: Record<string, ObjectMask> = {};
  for (const object of await picture.objects()) found[object.name] = await object.read();
  return found;
}

export const names = ({ pictures }: DataSet): string[] => pictures.map(({ name }) => name);

// The samples' pictures and two objects in them.
export const W = 12;
export const H = 8;
export const inBox = (x0: number, y0: number, x1: number, y1: number) => (x: number, y: number) =>
  x >= x0 && x < x1 && y >= y0 && y < y1;
export const left = inBox(1, 1, 5, 4);
export const right = inBox(6, 2, 11, 7);
export const white =
  (inside: (x: number, y: number) => boolean): Paint =>
  (x, y) => [inside(x, y) ? 255 : 0];

/** The one picture of a data set, which is read, and its objects. */
export async function only(root: string, format: DataFormat | 'auto' = 'auto', split?: string) {
  const data = await openDataSet(root, format, { split });
  expect(data.pictures).toHaveLength(1);
  const picture = data.pictures[0]!;
  const { width, height, channels } = await picture.read();
  expect([width, height, channels]).toEqual([W, H, 3]);
  return { data, picture, objects: await objectsOf(picture) };
}
