import { setTimeout } from 'node:timers/promises';
import sharp from 'sharp';
import { describe, expect, it } from 'vitest';
import { HrsamError } from '../../lib/errors.js';
import type { Evaluation } from '../../lib/eval/evaluate.js';
import type { Method, Step } from '../../lib/eval/method.js';
import { runObject } from '../../lib/eval/run_object.js';
import { renderSheet } from '../../lib/eval/sheet.js';
import { cocoPredictions, summarise } from '../../lib/eval/summary.js';
import { boxOf, decompressRle, type Rle } from '../../lib/image/rle.js';
import { codeOf } from '../support/errors.js';
import { disc, H, labelled, large, maskOf, run, set, small, W } from './scene.js';
import { area } from './support.js';

/** Answers with given masks, by the number of clicks or in turn, and keeps what it was asked. */
class Scripted implements Method {
  readonly name = 'scripted';
  readonly steps: Step[] = [];
  opened = 0;
  closed = 0;

  constructor(
    readonly answers: readonly Rle[],
    readonly inTurn = false,
  ) {}

  async open() {
    this.opened++;
    return {
      answer: async (step: Step) => {
        this.steps.push({ ...step, clicks: [...step.clicks] });
        const index = this.inTurn ? this.steps.length - 1 : step.clicks.length - (step.box ? 0 : 1);
        return { mask: this.answers[Math.min(index, this.answers.length - 1)]! };
      },
      [Symbol.dispose]: () => {
        this.closed++;
      },
    };
  }
}

describe('clicks on an object', () => {
  const object = maskOf(large);
  const half = maskOf((x, y) => large(x, y) && x < 44);

  // models/segmentors of the authors' code: `update_clicks` leaves the points as they are where no click is found, and
  // `interact_test` decodes with them and the logits before.
  it('go on when it is right: the same ones again, with the last answer', async () => {
    const method = new Scripted([half, object, half, object, object], true);
    const { objects } = await run(method, set(labelled('a', { o: object })), { clicks: 5 });
    const [{ ious, clicks, mask, ms }] = objects as [(typeof objects)[0]];
    const before = area(half) / area(object);
    expect(ious).toEqual([before, 1, before, 1, 1]);
    expect(clicks.map(({ label }) => label)).toEqual([1, 1, 1]);
    expect(large(clicks[0]!.x, clicks[0]!.y)).toBe(true);
    expect(clicks[1]!.x).toBeGreaterThanOrEqual(44);
    expect(mask).toEqual(object);
    expect(ms).toHaveLength(5);
    // Each step knows all clicks and the answer before.
    expect(method.steps.map((step) => step.clicks.length)).toEqual([1, 2, 2, 3, 3]);
    expect(method.steps.map(({ previous }) => previous?.mask)).toEqual([
      undefined,
      half,
      object,
      half,
      object,
    ]);
    expect(summarise({ objects, failed: [], pictureMs: [1] }, 5).noc[95]).toBe(2);
  });

  it('too much is clicked away', async () => {
    const both = maskOf((x, y) => small(x, y) || large(x, y));
    const { objects } = await run(new Scripted([both]), set(labelled('a', { o: object })), { clicks: 2 });
    const [, second] = objects[0]!.clicks;
    expect(second).toMatchObject({ label: 0 });
    expect(small(second!.x, second!.y)).toBe(true);
  });

  it('start with the box when asked, which no click pays for', async () => {
    const method = new Scripted([half, object]);
    const { objects } = await run(method, set(labelled('a', { o: object })), { clicks: 3, box: true });
    expect(boxOf(object)).toEqual([31, 7, 58, 34]);
    expect(method.steps.map(({ box, clicks }) => [box, clicks.length])).toEqual([
      [boxOf(object), 0],
      [boxOf(object), 1],
      [boxOf(object), 1],
      [boxOf(object), 1],
    ]);
    expect(objects[0]!.boxIou).toBe(area(half) / area(object));
    expect(objects[0]!.ious).toEqual([1, 1, 1]);
    expect(summarise({ objects, failed: [], pictureMs: [1] }, 3).iouAtBox).toBe(objects[0]!.boxIou);
    // Where the box is enough, it is what is asked again.
    const right = new Scripted([object]);
    await run(right, set(labelled('a', { o: object })), { clicks: 2, box: true });
    expect(right.steps.map(({ clicks, previous }) => [clicks.length, previous?.mask])).toEqual([
      [0, undefined],
      [0, object],
      [0, object],
    ]);
  });

  it('what nobody decided about is neither right nor wrong', async () => {
    const ignore = maskOf((x, y) => disc(44, 20, 15)(x, y) && !large(x, y));
    const generous = maskOf(disc(44, 20, 15));
    const picture = await new Scripted([generous]).open();
    const options = { clicks: 1, boundaryAt: [1] };
    const judged = await runObject(picture, { mask: object, ignore }, options);
    expect([judged.ious, judged.boundaryIous]).toEqual([[1], { 1: 1 }]);
    const strict = await runObject(picture, { mask: object }, options);
    expect(strict.ious[0]).toBe(area(object) / area(generous));
  });
});

describe('an evaluation', () => {
  it('opens each picture once, closes it, and stops at the limit', async () => {
    const masks = { s: maskOf(small), l: maskOf(large) };
    const data = set(labelled('a', masks), labelled('b', masks), labelled('c', masks));
    const method = new Scripted([maskOf(large)]);
    const all = await run(method, data, { clicks: 1 });
    expect([all.objects.length, method.opened, method.closed, all.pictureMs.length]).toEqual([6, 3, 3, 3]);
    expect(all.objects.slice(0, 2).map(({ picture, object, ious }) => [picture, object, ious])).toEqual([
      ['a', 's', [0]],
      ['a', 'l', [1]],
    ]);
    const few = new Scripted([maskOf(large)]);
    expect((await run(few, data, { clicks: 1, limit: 3 })).objects).toHaveLength(3);
    expect([few.opened, few.closed]).toEqual([2, 2]);
  });

  it('an entry that is corrupt costs itself and is told', async () => {
    const broken = async () => {
      throw new HrsamError('ERR_IMAGE', 'truncated', { where: 'x.png' });
    };
    const good = maskOf(small);
    const data = set(
      { ...labelled('unreadable', { o: good }), read: broken },
      { ...labelled('unlisted', {}), objects: broken },
      {
        ...labelled('partly', {}),
        objects: async () => [
          { name: 'corrupt', read: broken },
          { name: 'good', read: async () => ({ mask: good }) },
          { name: 'other size', read: async () => ({ mask: maskOf(small, H, W + 1) }) },
          { name: 'empty', read: async () => ({ mask: maskOf(() => false) }) },
        ],
      },
    );
    const seen: number[] = [];
    const { objects, failed } = await run(new Scripted([good]), data, {
      clicks: 1,
      onProgress: (done) => seen.push(done.masks + done.failed),
    });
    expect(objects.map(({ object }) => object)).toEqual(['good']);
    expect(failed.map(({ entry }) => entry)).toEqual([
      'unreadable',
      'unlisted',
      'partly: corrupt',
      'partly: other size',
      'partly: empty',
    ]);
    expect(failed[3]!.error).toContain(`${W + 1} x ${H}`);
    expect(seen).toEqual([1, 2, 3, 4, 5, 6]);
    // A limit counts what could be judged.
    const limited = await run(new Scripted([good]), data, { clicks: 1, limit: 1 });
    expect([limited.objects.length, limited.failed.length]).toEqual([1, 3]);
  });

  it('with several pictures at a time comes to what one after the other does, wherever the limit is', async () => {
    const good = maskOf(small);
    const broken = async () => {
      throw new HrsamError('ERR_IMAGE', 'truncated', { where: 'x.png' });
    };
    const counts = [3, 0, 1, 4, 0, 2];
    const data = set(
      ...counts.map((count, i) => {
        const picture = labelled(
          `p${i}`,
          Object.fromEntries(
            Array(count)
              .fill(good)
              .map((o, k) => [`o${k}`, o]),
          ),
        );
        return {
          ...picture,
          // Later ones are there first.
          read: async () => {
            await setTimeout(5 * (counts.length - i));
            return i === 4 ? broken() : picture.read();
          },
          objects: async () => [...(await picture.objects()), { name: 'corrupt', read: broken }],
        };
      }),
    );
    const withoutTimes = ({ objects, failed, pictureMs }: Evaluation) => ({
      objects: objects.map(({ ms, ...rest }) => ({ ...rest, answers: ms.length })),
      failed,
      pictures: pictureMs.length,
    });
    for (const limit of [undefined, 1, 3, 4, 7, 9, 100]) {
      const alone = new Scripted([maskOf(large), good]);
      const expected = withoutTimes(await run(alone, data, { clicks: 2, limit }));
      for (const jobs of [2, 4, 50]) {
        const method = new Scripted([maskOf(large), good]);
        const seen: number[] = [];
        const found = await run(method, data, {
          clicks: 2,
          limit,
          jobs,
          onProgress: ({ masks }) => seen.push(masks),
        });
        expect(withoutTimes(found)).toEqual(expected);
        expect(method.opened).toBe(method.closed);
        expect(Math.max(...seen)).toBe(expected.objects.length);
      }
    }
  });

  it('with several pictures at a time ends when one does, and closes all', async () => {
    const data = set(...Array.from({ length: 9 }, (_, i) => labelled(`${i}`, { o: maskOf(small) })));
    const scripted = new Scripted([maskOf(large)]);
    const method: Method = {
      name: 'failing',
      open: async () => {
        if (scripted.opened === 3) throw new HrsamError('ERR_OUT_OF_MEMORY', 'no');
        return scripted.open();
      },
    };
    expect(await codeOf(() => run(method, data, { jobs: 4 }))).toBe('ERR_OUT_OF_MEMORY');
    expect([scripted.opened, scripted.closed]).toEqual([3, 3]);
  });

  it('a fault of the method or an abort ends it', async () => {
    const data = set(labelled('a', { o: maskOf(small) }));
    const failing = (code: ConstructorParameters<typeof HrsamError>[0]): Method => ({
      name: 'failing',
      open: async () => {
        throw new HrsamError(code, 'no');
      },
    });
    expect(await codeOf(() => run(failing('ERR_OUT_OF_MEMORY'), data))).toBe('ERR_OUT_OF_MEMORY');
    expect(await codeOf(() => run(failing('ERR_IMAGE'), data))).toBe('ERR_IMAGE');
  });

  it('sums up', async () => {
    const [object, half] = [maskOf(large), maskOf((x, y) => large(x, y) && x < 44)];
    const data = set(labelled('a.jpg', { l: object, s: maskOf(small) }));
    const evaluation = await run(new Scripted([half, object]), data, { clicks: 6 });
    const summary = summarise(evaluation, 6, { image: 10, click: 2 });
    const first = area(half) / area(object) / 2;
    expect(summary).toMatchObject({
      masks: 2,
      pictures: 1,
      clicks: 6,
      judgedAfter: 5,
      miou: 0.5,
      boundaryIou: 0.5,
      failures: { 80: 1, 85: 1, 90: 1, 95: 1 },
      noc: { 80: 4, 85: 4, 90: 4, 95: 4 },
      flopsPerImage: 10,
      flopsPerClick: 2,
      failed: [],
    });
    expect(summary.iouAtClicks).toEqual({ 1: first, 2: 0.5, 3: 0.5, 5: 0.5 });
    expect(Object.keys(summary.boundaryIouAtClicks)).toEqual(['1', '2', '3', '5']);
    expect(summary.boundaryIouAtClicks['1']).toBeLessThan(0.5);
    expect(summary.msPerClick).toBeGreaterThanOrEqual(0);
    const predictions = cocoPredictions(evaluation.objects);
    expect(predictions.map(({ image_id, file_name, object }) => [image_id, file_name, object])).toEqual([
      [0, 'a.jpg', 'l'],
      [0, 'a.jpg', 's'],
    ]);
    expect(decompressRle(predictions[0]!.segmentation)).toEqual(object);
  });

  it('draws a sheet with a tile for every object', async () => {
    // XML cannot say everything that a file's name can.
    const data = set(labelled('a\x01\ufffe<.jpg', { l: maskOf(large), s: maskOf(small) }));
    const { objects } = await run(new Scripted([maskOf(large)]), data, { clicks: 2 });
    const { data: pixels, info } = await sharp(await renderSheet(objects, data))
      .raw()
      .toBuffer({ resolveWithObject: true });
    expect([info.width, info.channels]).toEqual([400, 3]);
    // The best object, in the second row, is right throughout: its ground shows through green.
    const at = (34 + 380 + 46 + 34 + 190) * info.width + 10 + 190 + 60;
    const [red, green, blue] = pixels.subarray(3 * at, 3 * at + 3);
    expect(red).toBeLessThan(45);
    expect(green).toBeGreaterThan(120);
    expect(Math.abs(blue! - (0.6 * 60 + 0.4 * 115))).toBeLessThan(6);
  });
});
