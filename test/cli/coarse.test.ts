import { beforeAll, describe, expect, test } from 'vitest';
import { SafetensorsFile } from '../../lib/weights/safetensors.js';
import { photograph, scratch } from '../support/files.js';
import { hrsamJson, writeTiny } from './support.js';

const path = scratch('hrsam-cli-');
const MODEL = ['-w', path('coarse.safetensors'), '-d', 'cpu', '--size', '320'];

// The tiny model, which sees 256 pixels, as one that asks for coarse to fine.
beforeAll(() => writeTiny(path('coarse.safetensors'), { decoder: { coarseToFine: true } }));

describe('--no-coarse', () => {
  test('segment answers at full size alone', async () => {
    const scores = async (...args: string[]) => {
      const { masks } = await hrsamJson(['segment', photograph, ...MODEL, '-p', '300,400', ...args]);
      return masks.map(({ score }: { score: number }) => score);
    };
    expect(await scores()).not.toEqual(await scores('--no-coarse'));
    expect(await scores('--multimask')).toEqual(await scores('--multimask', '--no-coarse'));
  });

  test('embed keeps the embedding at full size alone', async () => {
    const kept = async (...args: string[]) => {
      await hrsamJson(['embed', photograph, ...MODEL, '-o', path('e.safetensors'), ...args]);
      await using file = await SafetensorsFile.open(path('e.safetensors'));
      return Object.fromEntries([...file.tensors].map(([name, { shape }]) => [name, shape]));
    };
    expect(await kept()).toEqual({ embedding: [1, 64, 20, 20], coarse: [1, 64, 16, 16] });
    expect(await kept('--no-coarse')).toEqual({ embedding: [1, 64, 20, 20] });
  });
});
