import { difference, emptyMask } from '../image/overlap.js';
import { type Box, boxOf, type Rle } from '../image/rle.js';
import type { Click } from '../predictor/session.js';
import { type ClickRule, SimulatedUser } from '../predictor/simulated_user.js';
import type { ObjectMask } from './data/dataset.js';
import type { Answer, OpenedPicture } from './method.js';
import { boundaryIou, maskIou } from './metrics.js';

export interface ObjectOptions {
  /** Most clicks. */
  clicks: number;
  /** Start with the object's box. */
  box?: boolean;
  rule?: ClickRule;
  /** Numbers of clicks after which boundaries are compared. */
  boundaryAt: readonly number[];
  signal?: AbortSignal;
}

/** What one object's clicks led to. */
export interface ObjectResult {
  /** IoU after 1, 2, … answers to clicks. */
  ious: number[];
  /** IoU with the box alone. */
  boxIou?: number;
  box?: Box;
  /** Boundary IoU by number of clicks. */
  boundaryIous: Record<number, number>;
  clicks: Click[];
  /** The object. */
  truth: Rle;
  /** What was answered last. */
  mask: Rle;
  /** IoU as the method predicts it. */
  score?: number;
  /** Milliseconds of each answer. */
  ms: number[];
}

/**
 * Clicks on one object. Where nothing is wrong the method is asked again with the same clicks and its last answer, as the
 * published evaluation goes on to: what it says then counts too.
 */
export async function runObject(
  picture: OpenedPicture,
  { mask: object, ignore }: ObjectMask,
  options: ObjectOptions,
): Promise<ObjectResult> {
  const user = new SimulatedUser(object, options.rule);
  const enclosing = boxOf(object);
  const box = options.box ? enclosing : undefined;
  const clicks: Click[] = [];
  const ms: number[] = [];
  let previous: Answer | undefined;
  let mask = emptyMask(...object.size);
  const step = async (): Promise<number> => {
    const begin = performance.now();
    previous = await picture.answer({ clicks, box, truth: enclosing, previous, signal: options.signal });
    ms.push(performance.now() - begin);
    // What nobody decided about is taken off the prediction; the object does not hold it either.
    mask = ignore ? difference(previous.mask, ignore) : previous.mask;
    return maskIou(mask, object);
  };
  const ious: number[] = [];
  const boundaryIous: Record<number, number> = {};
  const boxIou = box && (await step());
  while (ious.length < options.clicks) {
    const click = await user.next(mask, clicks);
    if (click) clicks.push(click);
    ious.push(await step());
    if (options.boundaryAt.includes(ious.length)) boundaryIous[ious.length] = await boundaryIou(mask, object);
  }
  return { ious, boxIou, box, boundaryIous, clicks, truth: object, mask, score: previous?.score, ms };
}
