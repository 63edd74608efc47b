import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { EncodedImage } from '../../lib/predictor/image.js';
import type { Mask } from '../../lib/predictor/mask.js';
import { errorOf } from '../support/errors.js';
import { contents, picture, randomModel } from './support/models.js';

describe.each(['hrsam-tiny', 'hrsam++-tiny', 'sam-tiny'])('a session, %s', (preset) => {
  let image: EncodedImage;
  beforeAll(async () => {
    image = await (await randomModel(preset)).encode(picture(70, 50));
  });
  afterAll(() => image?.dispose());

  it('begins with nothing', () => {
    const session = image.session();
    expect(session.clicks).toEqual([]);
    expect(session.mask).toBeUndefined();
    expect(session.undo()).toBeUndefined();
  });

  it('answers the clicks made before its picture was disposed', async () => {
    const other = await (await randomModel(preset)).encode(picture(70, 50));
    const [kept, session] = [image.session(), other.session()];
    const clicks = [session.click(20, 30), session.click(40, 60, 0)];
    other.dispose();
    expect((await errorOf(() => session.click(1, 1))).code).toBe('ERR_DISPOSED');
    expect(contents(await clicks[0]!)).toEqual(contents(await kept.click(20, 30)));
    expect(contents(await clicks[1]!)).toEqual(contents(await kept.click(40, 60, 0)));
    expect(other.embedding.disposed).toBe(true);
  });

  it('decodes each click with all earlier ones and the last logits', async () => {
    const session = image.session();
    const first = await session.click(20, 30);
    const [alone] = await image.segment({ points: [[20, 30]], labels: [1] });
    expect(contents(first)).toEqual(contents(alone!));

    const second = await session.click(40, 60, 0);
    const both = {
      points: [
        [20, 30],
        [40, 60],
      ] as const,
      labels: [1, 0],
    };
    const [fed] = await image.segment({ ...both, mask: first.logits });
    const [unfed] = await image.segment(both);
    expect(contents(second)).toEqual(contents(fed!));
    expect(second.logits.data).not.toEqual(unfed!.logits.data);
    expect(session.mask).toBe(second);
    expect(session.clicks).toEqual([
      { x: 20, y: 30, label: 1 },
      { x: 40, y: 60, label: 0 },
    ]);
  });

  it.each([-1, 2, '1'])('takes no click of the label %j', async (label) => {
    const session = image.session();
    const error = await errorOf(() => session.click(20, 30, label as never));
    expect(error.code).toBe('ERR_PROMPT');
    expect(session.clicks).toEqual([]);
  });

  it('undoes clicks: the next one follows from the mask before', async () => {
    const session = image.session();
    const first = await session.click(20, 30);
    await session.click(5, 5, 0);
    expect(session.undo()).toBe(first);
    expect(session.clicks).toEqual([{ x: 20, y: 30, label: 1 }]);
    const second = await session.click(40, 60, 0);

    const straight = image.session();
    await straight.click(20, 30);
    expect(contents(await straight.click(40, 60, 0))).toEqual(contents(second));
  });

  it('begins anew after a reset', async () => {
    const session = image.session();
    const first = await session.click(20, 30);
    await session.click(5, 5, 0);
    session.reset();
    expect(session.clicks).toEqual([]);
    expect(session.mask).toBeUndefined();
    expect(contents(await session.click(20, 30))).toEqual(contents(first));
  });

  it('lets a click wait for those before it', async () => {
    const session = image.session();
    const [, second, failed, third] = await Promise.allSettled([
      session.click(20, 30),
      session.click(40, 60, 0),
      session.click(51, 3),
      session.click(10, 10),
    ]);
    expect(failed!.status).toBe('rejected');
    const apart = image.session();
    await apart.click(20, 30);
    const masks = [await apart.click(40, 60, 0), await apart.click(10, 10)];
    expect(session.clicks).toEqual(apart.clicks);
    for (const [i, result] of [second, third].entries())
      expect(contents((result as PromiseFulfilledResult<Mask>).value)).toEqual(contents(masks[i]!));
  });

  it.each(['undo', 'reset'] as const)('forgets at %s what is not answered yet', async (name) => {
    const session = image.session();
    const first = await session.click(20, 30);
    const waiting = [session.click(5, 5, 0), session.click(6, 6, 0)];
    expect(session[name]()).toBeUndefined();
    const next = session.click(20, 30);
    await Promise.all(waiting);
    expect(contents(await next)).toEqual(contents(first));
    expect(session.clicks).toEqual([{ x: 20, y: 30, label: 1 }]);
  });

  it('does not take a click that fails', async () => {
    const session = image.session();
    const first = await session.click(20, 30);
    expect((await errorOf(() => session.click(51, 3))).code).toBe('ERR_PROMPT');
    expect((await errorOf(() => session.click(1, 1, 3 as 0))).code).toBe('ERR_PROMPT');
    const signal = AbortSignal.abort();
    expect((await errorOf(() => session.click(1, 1, 1, { signal }))).code).toBe('ERR_ABORTED');
    expect(session.clicks).toHaveLength(1);
    expect(session.mask).toBe(first);
  });

  it('is apart from other sessions of the same picture', async () => {
    const [one, other] = [image.session(), image.session()];
    await one.click(20, 30);
    await other.click(1, 1);
    const second = await one.click(40, 60);
    expect(other.clicks).toEqual([{ x: 1, y: 1, label: 1 }]);
    const again = image.session();
    await again.click(20, 30);
    expect(contents(await again.click(40, 60))).toEqual(contents(second));
  });
});
