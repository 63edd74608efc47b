import { createHash } from 'node:crypto';
import { describe, expect, it } from 'vitest';
import { fillTensor, initialTensor } from '../../lib/weights/random.js';
import { readJson } from '../support/reference.js';

const sha = (values: Float32Array) =>
  createHash('sha256').update(new Uint8Array(values.buffer)).digest('hex').slice(0, 16);

/** The formula as it is written, with 64-bit integers. */
const literal = (name: string, index: number): number => {
  const mask = (1n << 64n) - 1n;
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(name)) hash = ((hash ^ BigInt(byte)) * 0x100000001b3n) & mask;
  let z = (hash + BigInt(index + 1) * 0x9e3779b97f4a7c15n) & mask;
  z = ((z ^ (z >> 30n)) * 0xbf58476d1ce4e5b9n) & mask;
  z = ((z ^ (z >> 27n)) * 0x94d049bb133111ebn) & mask;
  return Number((z ^ (z >> 31n)) >> 40n) / 2 ** 24;
};

describe('fillTensor', () => {
  it('follows the formula', () => {
    for (const name of ['backbone.pos_embed', '', 'prompt/mask', 'é']) {
      const values = fillTensor(name, { offset: 0.25, scale: 3 }, new Float32Array(1000));
      values.forEach((value, i) => {
        expect(value).toBe(Math.fround(0.25 + 3 * (2 * literal(name, i) - 1)));
      });
    }
  });

  it('takes offsets from a table in turn', () => {
    const values = fillTensor('x', { offset: 9, scale: 0, offsetTable: [1, 2, 3] }, new Float32Array(5));
    expect([...values]).toEqual([1, 2, 3, 1, 2]);
  });
});

describe('initialTensor', () => {
  it('differs by name and by seed, and is the same every time', () => {
    const a = initialTensor('backbone.blocks.0.attn.qkv.weight', [6, 4]);
    expect(initialTensor('backbone.blocks.0.attn.qkv.weight', [6, 4])).toEqual(a);
    expect(initialTensor('backbone.blocks.1.attn.qkv.weight', [6, 4])).not.toEqual(a);
    expect(initialTensor('backbone.blocks.0.attn.qkv.weight', [6, 4], 1)).not.toEqual(a);
  });

  it('computes rotary frequencies', () => {
    expect([...initialTensor('backbone.rope.freqs', [4])]).toEqual([1, 0.1, 0.01, 0.001].map(Math.fround));
  });

  it('fills as the reference generator does: hashes of the SAM manifest', () => {
    const { tensors } = readJson('sam/manifest.json').configs['encoder/tiny-224-w7'];
    for (const { name, shape, offset, scale, sha256 } of tensors) {
      const out = new Float32Array(shape.reduce((a: number, b: number) => a * b, 1));
      expect(sha(fillTensor(name, { offset, scale }, out)), name).toBe(sha256);
    }
  });

  it('takes the ranges of the HRSAM manifest', () => {
    const { configs } = readJson('manifest.json');
    for (const config of ['tiny-hrsam-w16', 'tiny-hrsampp-rect']) {
      for (const { name, shape, rule, theta, dim, offset, scale, offset_table } of configs[config].tensors) {
        const out = new Float32Array(shape.reduce((a: number, b: number) => a * b, 1));
        if (rule === 'rope_freqs') out.set(Array.from(out, (_, k) => theta ** ((-2 * k) / dim)));
        else fillTensor(name, { offset, scale, offsetTable: offset_table }, out);
        expect(sha(initialTensor(name, shape)), name).toBe(sha(out));
      }
    }
  });
});
