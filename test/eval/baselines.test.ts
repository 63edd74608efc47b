import { describe, expect, it } from 'vitest';
import { BoxBaseline, boxMask } from '../../lib/eval/baselines/box.js';
import { GrabCutBaseline } from '../../lib/eval/baselines/grabcut.js';
import { ColourMixture } from '../../lib/eval/baselines/mixture.js';
import type { Step } from '../../lib/eval/method.js';
import type { Pixels } from '../../lib/image/pixels.js';
import { H, type Inside, labelled, large, maskOf, run, scene, set, small, W } from './scene.js';
import { rows } from './support.js';

describe('baselines', () => {
  it('a box of the object’s size around the clicks', async () => {
    using picture = await new BoxBaseline().open({ height: 10, width: 12 });
    const ask = async (clicks: Step['clicks'], truth: Step['truth']) =>
      rows((await picture.answer({ clicks, truth })).mask);
    expect(await ask([{ x: 4, y: 5, label: 1 }], [0, 0, 5, 3])).toEqual([
      '............',
      '............',
      '............',
      '............',
      ...Array(3).fill('..#####.....'),
      '............',
      '............',
      '............',
    ]);
    // Between two positive clicks, negative ones do not count; cut at the border.
    const clicks = [
      { x: 0, y: 1, label: 1 },
      { x: 2, y: 1, label: 1 },
      { x: 11, y: 9, label: 0 },
    ] as const;
    expect((await ask(clicks, [0, 0, 5, 5]))[0]).toBe('####........');
    expect(await ask(clicks, [0, 0, 5, 20])).toEqual(Array(10).fill('####........'));
    expect(rows(boxMask([20, 20, 30, 30], 3, 4))).toEqual(['....', '....', '....']);
    expect(rows(boxMask([-5, -5, 30, 30], 3, 4))).toEqual(['####', '####', '####']);
    expect(rows(boxMask([2, 1, 30, 30], 3, 4))).toEqual(['....', '..##', '..##']);
  });

  it('colours find a thing that differs from its ground, and learn from clicks', async () => {
    const both: Inside = (x, y) => small(x, y) || large(x, y);
    const picture = scene(both);
    const data = set(labelled('a', { one: maskOf(large), both: maskOf(both) }, picture));
    const { objects } = await run(new GrabCutBaseline(), data, { clicks: 3 });
    expect(objects[0]!.ious[0]).toBeGreaterThan(0.85);
    expect(objects[1]!.ious.at(-1)).toBeGreaterThan(0.85);
    expect(objects[1]!.ious.at(-1)).toBeGreaterThan(objects[1]!.ious[0]!);
    // The same clicks lead to the same masks, whatever was asked before.
    const again = await run(new GrabCutBaseline(), set(labelled('a', { both: maskOf(both) }, picture)), {
      clicks: 3,
    });
    expect(again.objects[0]!.ious).toEqual(objects[1]!.ious);
  });

  it('colours are learned from any number of pixels', () => {
    const colours = Float32Array.from({ length: 3 * 3200 }, (_, i) => (i * 37) % 255);
    for (let count = 1; count <= 3200; count += 49) {
      const mixture = new ColourMixture(
        colours,
        Array.from({ length: count }, (_, i) => i),
      );
      expect(mixture.cost(colours[0]!, colours[1]!, colours[2]!)).toBeLessThan(mixture.cost(-500, 900, -500));
    }
  });

  it('a picture of one colour is no difficulty', async () => {
    const data = new Uint8Array(W * H * 3).fill(90);
    const grey: Pixels = { data, width: W, height: H, channels: 3 };
    const { objects } = await run(new GrabCutBaseline(), set(labelled('a', { o: maskOf(large) }, grey)), {
      clicks: 2,
      box: true,
    });
    expect(objects[0]!.ious.every((iou) => iou >= 0 && iou <= 1)).toBe(true);
  });
});
