import { describe, expect, it } from 'vitest';
import { evaluate } from '../../lib/graph/evaluate.js';
import { cast } from '../../lib/graph/ops/cast.js';
import { maskThreshold } from '../../lib/graph/ops/mask_threshold.js';
import { slice } from '../../lib/graph/ops/slice.js';
import { bf16Bits } from '../../lib/weights/dtypes.js';
import { generate } from '../support/reference.js';
import { device, host, roundedToBf16, runOne, upload } from '../support/run.js';

describe('cast', () => {
  it.each([1, 3, 16, 31, 1000])('rounds %i elements to nearest even and back', async (length) => {
    const x = generate({ name: 'x', shape: [length], scale: 1e3 });
    const y = await runOne({ x }, (graph, v) => cast(graph, cast(graph, v.x!, 'bf16'), 'f32'));
    expect(y).toEqual(roundedToBf16(x));
  });

  it('gives the bits of bf16: halves, ties, the largest value, infinities, NaN', async () => {
    const one = 2 ** -7;
    const values = [
      1,
      1 + one / 2,
      1 + (3 * one) / 2,
      1 + one / 2 + 2 ** -20,
      -0,
      3.4e38,
      3.3961775292304e38,
    ];
    const x = host([10], [...values, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.NaN]);
    const { y } = await evaluate({ x: upload(x) }, (graph, v) => ({ y: cast(graph, v.x!, 'bf16') }));
    const bits = [...(await y!.data())];
    const expected = Array.from(x.data, bf16Bits);
    const nan = 9;
    expect(bits.filter((_, i) => i !== nan)).toEqual(expected.filter((_, i) => i !== nan));
    expect(bits[nan]! & 0x7fff).toBeGreaterThan(0x7f80);
  });

  it('may flush denormals, and does no more to them', async () => {
    const x = host([2], [1e-40, -1e-40]);
    const y = await runOne({ x }, (graph, v) => cast(graph, cast(graph, v.x!, 'bf16'), 'f32'));
    expect(Math.max(...y.data.map(Math.abs))).toBeLessThan(2e-40);
  });

  it('copies what is returned as it came, or was computed of constants, in every type', async () => {
    const bytes = Uint8Array.from({ length: 36 }, (_, i) => 37 * i);
    // NaN with a payload, the smallest bf16 there is, −0: none of them changes.
    const halves = Uint16Array.from([0x7f81, 1, 0x8000, 0x3f80]);
    const given = {
      x: device.tensor([3, 12], 'u8', bytes),
      half: device.tensor([4], 'bf16', halves),
      count: device.tensor([2], 'i32', new Int32Array([-7, 2 ** 30])),
    };
    const logits = device.tensor([1, 1, 1, 2], 'f32', new Float32Array([-1, 1]));
    const size = [1, 2] as const;
    const { x, part, half, count, mask, again } = await evaluate(
      given,
      (graph, v) => {
        const mask = maskThreshold(graph, v.logits!, {
          input: size,
          crop: size,
          original: size,
          threshold: 0,
        });
        return {
          x: v.x!,
          part: slice(graph, v.x!, 0, 1, 2),
          half: v.half!,
          count: v.count!,
          mask,
          again: mask,
        };
      },
      { constants: { logits } },
    );
    expect(await x!.data()).toEqual(bytes);
    expect(await part!.data()).toEqual(bytes.slice(12, 24));
    expect(await half!.data()).toEqual(halves);
    expect([...(await count!.data())]).toEqual([-7, 2 ** 30]);
    for (const tensor of [mask, again]) expect([...(await tensor!.data())]).toEqual([0, 1]);
  });

  it('is nothing where the type is the same', async () => {
    const x = device.tensor([2], 'f32', new Float32Array([1, 2]));
    let same = false;
    await evaluate({ x }, (graph, v) => {
      const y = cast(graph, v.x!, 'f32');
      same = y === v.x;
      return { y };
    });
    expect(same).toBe(true);
  });
});
