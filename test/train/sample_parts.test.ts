import { describe, expect, it } from 'vitest';
import { Rng } from '../../lib/rng.js';
import { jitter, UNCHANGED } from '../../lib/train/samples/colour.js';
import { prefetch } from '../../lib/train/samples/prefetch.js';
import { measure } from '../../lib/train/samples/source.js';

const numbers = (count: number) => Array.from({ length: count }, (_, i) => i);

describe('jitter', () => {
  const none = { brightness: 0, contrast: 0, saturation: 0, hue: 0, tint: 0 };

  it('changes nothing when told so', () => {
    expect(jitter(new Rng(1), none, false)).toEqual(UNCHANGED);
  });

  it('takes all colour out', () => {
    const rows = jitter(new Rng(1), none, true);
    expect(rows.slice(0, 4)).toEqual([306, 601, 117, 0]);
    expect(rows.slice(4, 8)).toEqual(rows.slice(0, 4));
    expect(rows.slice(8, 12)).toEqual(rows.slice(0, 4));
  });

  it('leaves grey as grey when hue and saturation change', () => {
    for (const k of numbers(20)) {
      const rows = jitter(new Rng(k), { ...none, saturation: 0.5, hue: 0.2 }, false);
      for (let row = 0; row < 3; row++) {
        const sum = rows[4 * row]! + rows[4 * row + 1]! + rows[4 * row + 2]!;
        expect(Math.abs(sum - 1024)).toBeLessThanOrEqual(2);
      }
    }
  });

  it('changes red, green and blue each on its own, and nothing else', () => {
    const gains = numbers(20).map((k) => {
      const rows = jitter(new Rng(k), { ...none, tint: 0.25 }, false);
      const gain = [rows[0]!, rows[5]!, rows[10]!].map((value) => value / 1024);
      expect(rows.filter((value, i) => value !== 0 && i % 5 !== 0)).toEqual([]);
      for (const each of gain) expect(Math.abs(each - 1)).toBeLessThanOrEqual(0.251);
      return gain;
    });
    expect(Math.max(...gains.map((gain) => Math.max(...gain) - Math.min(...gain)))).toBeGreaterThan(0.2);
  });
});

describe('Rng', () => {
  it('differs for neighbouring keys and for keys beyond 32 bits', () => {
    const first = (...keys: number[]) => new Rng(...keys).bits();
    const made = [first(0, 0), first(0, 1), first(1, 0), first(0, 2 ** 32), first(2 ** 32, 0), first(0)];
    expect(new Set(made).size).toBe(made.length);
  });

  it('is even', () => {
    const draws = new Rng(5);
    const bins = new Array(10).fill(0);
    for (let i = 0; i < 20_000; i++) bins[draws.below(10)]++;
    for (const count of bins) expect(Math.abs(count - 2000)).toBeLessThan(250);
  });
});

describe('measure', () => {
  it('finds box and area', () => {
    const mask = new Uint8Array(5 * 4);
    for (const i of [6, 8, 12]) mask[i] = 255;
    expect(measure(mask, 5)).toEqual({ box: [1, 1, 4, 3], area: 3 });
    expect(measure(new Uint8Array(20), 5)).toBeUndefined();
  });
});

describe('prefetch', () => {
  it('keeps order and bounds what is under way', async () => {
    let [active, most] = [0, 0];
    const make = async (index: number) => {
      most = Math.max(most, ++active);
      await new Promise((resolve) => setTimeout(resolve, index % 3));
      active--;
      return index;
    };
    const seen: number[] = [];
    for await (const value of prefetch(make, { from: 5, to: 25, concurrency: 3 })) seen.push(value);
    expect(seen).toEqual(numbers(20).map((i) => i + 5));
    expect(most).toBe(3);
  });

  it('fails in turn, after what came before', async () => {
    const make = async (index: number) => {
      if (index === 2) throw new Error('two');
      return index;
    };
    const seen: number[] = [];
    const all = async () => {
      for await (const value of prefetch(make, { concurrency: 4 })) seen.push(value);
    };
    await expect(all()).rejects.toThrow('two');
    expect(seen).toEqual([0, 1]);
  });

  it('stops when its reader leaves', async () => {
    let made = 0;
    const make = async (index: number) => {
      made++;
      return index;
    };
    for await (const value of prefetch(make, { concurrency: 2 })) if (value === 3) break;
    expect(made).toBeLessThanOrEqual(6);
  });
});
