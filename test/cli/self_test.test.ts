import { describe, expect, test } from 'vitest';
import { apart, deviceTest, testCpu } from '../../lib/cli/self_test.js';
import { hasKernelsOnCpu, kernelsOnCpu } from '../support/kernels_on_cpu.js';

test('the CPU passes', async () => {
  expect((await testCpu()).ms).toBeGreaterThan(0);
});

describe.runIf(hasKernelsOnCpu)('a GPU', () => {
  process.env.HRSAM_CUDA_LIBRARY ??= kernelsOnCpu;

  test('whose answers are the CPU’s but for rounding passes', async () => {
    const { f32, bf16 } = await deviceTest('random:hrsam-tiny', 96)('cuda');
    expect(f32).toBeLessThan(1e-5);
    expect(bf16).toBeGreaterThan(1e-4); // its own products
    expect(bf16).toBeLessThan(1.5e-2);
  });
});

describe('answers', () => {
  const right = { embedding: Float32Array.of(3, 4), logits: Float32Array.of(1, -1) };
  const off = (by: number) => ({ ...right, logits: Float32Array.of(1 + by, -1) });

  test('are apart by the larger of their differences', () => {
    expect(apart(right, right, 'f32')).toBe(0);
    expect(apart(off(0.01), right, 'bf16')).toBeCloseTo(0.01 / Math.SQRT2, 6);
  });

  test.each([
    [
      'f32',
      off(2e-4),
      /^logits in f32: 0\.00014 apart from the CPU's \(relative L2; at most 0\.0001 is sound\)$/,
    ],
    ['bf16', off(0.1), /^logits in bf16: 0\.07\d* apart/],
    ['f32', { ...right, embedding: Float32Array.of(Number.NaN, 4) }, /^embedding in f32: NaN apart/],
  ] as const)('that rounding does not explain fail, in %s', (dtype, wrong, message) => {
    expect(() => apart(wrong, right, dtype)).toThrow(message);
  });
});
