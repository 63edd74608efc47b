import { compressRle } from '../image/rle.js';
import type { EvaluatedObject, Evaluation, FailedEntry } from './evaluate.js';
import { clicksUntil, mean, numberOfClicks } from './metrics.js';

/** Numbers of clicks whose IoU is reported. */
export const REPORTED_CLICKS: readonly number[] = [1, 2, 3, 5, 10, 15, 20];
/** Thresholds of NoC, in percent. */
export const THRESHOLDS: readonly number[] = [80, 85, 90, 95];
/** mIoU and boundary IoU are told after as many clicks, as the paper's tables do, or after the last one. */
const JUDGED_AFTER = 5;

export interface Summary {
  masks: number;
  pictures: number;
  clicks: number;
  iouAtClicks: Record<string, number>;
  /** Mean IoU after each click, from the first. */
  iouByClick: number[];
  boundaryIouAtClicks: Record<string, number>;
  /** IoU with the box alone, where objects start with one. */
  iouAtBox?: number;
  /** After how many clicks the next two are taken. */
  judgedAfter: number;
  miou: number;
  boundaryIou: number;
  /** Mean number of clicks by threshold; an object that misses it counts with all clicks. */
  noc: Record<string, number>;
  /** Objects that miss a threshold. */
  failures: Record<string, number>;
  msPerImage: number;
  msPerClick: number;
  flopsPerImage?: number;
  flopsPerClick?: number;
  failed: FailedEntry[];
}

/** Figures of an evaluation; NaN, null in JSON, where nothing was judged. */
export function summarise(
  { objects, failed, pictureMs }: Evaluation,
  clicks: number,
  flops: { image?: number; click?: number } = {},
): Summary {
  const ious = objects.map((object) => object.ious);
  const counts = REPORTED_CLICKS.filter((count) => count <= clicks);
  const judgedAfter = Math.max(...counts.filter((count) => count <= JUDGED_AFTER));
  const byCount = (value: (object: EvaluatedObject, count: number) => number) =>
    Object.fromEntries(counts.map((count) => [count, mean(objects.map((object) => value(object, count)))]));
  const iouAtClicks = byCount((object, count) => object.ious[count - 1]!);
  const boundaryIouAtClicks = byCount((object, count) => object.boundaryIous[count]!);
  const noc = THRESHOLDS.map((threshold) => [threshold, numberOfClicks(ious, threshold / 100)] as const);
  const boxed = objects.filter(({ boxIou }) => boxIou !== undefined);
  return {
    masks: objects.length,
    pictures: new Set(objects.map(({ picture }) => picture)).size,
    clicks,
    iouAtClicks,
    iouByClick: Array.from({ length: clicks }, (_, k) => mean(ious.map((each) => each[k]!))),
    boundaryIouAtClicks,
    ...(boxed.length > 0 && { iouAtBox: mean(boxed.map(({ boxIou }) => boxIou!)) }),
    judgedAfter,
    miou: iouAtClicks[judgedAfter]!,
    boundaryIou: boundaryIouAtClicks[judgedAfter]!,
    noc: Object.fromEntries(noc.map(([threshold, { mean }]) => [threshold, mean])),
    failures: Object.fromEntries(noc.map(([threshold, { failures }]) => [threshold, failures])),
    msPerImage: mean(pictureMs),
    msPerClick: mean(objects.flatMap(({ ms }) => ms)),
    flopsPerImage: flops.image,
    flopsPerClick: flops.click,
    failed,
  };
}

/** One line per object, for later analysis. */
export const objectRow = ({ picture, object, ious, boxIou, boundaryIous, clicks }: EvaluatedObject) => ({
  picture,
  object,
  ious,
  boxIou,
  boundaryIous,
  clicks,
  noc: Object.fromEntries(THRESHOLDS.map((t) => [t, clicksUntil(ious, t / 100) ?? null])),
});

/** The masks after the last click in COCO's result format; pictures without a number get their place in order. */
export function cocoPredictions(objects: readonly EvaluatedObject[]) {
  const order = new Map([...new Set(objects.map(({ picture }) => picture))].map((name, i) => [name, i]));
  return objects.map(({ picture, pictureId, object, category, mask, score }) => ({
    image_id: pictureId ?? order.get(picture)!,
    file_name: picture,
    object,
    category_id: category ?? 1,
    segmentation: compressRle(mask),
    score: score ?? 1,
  }));
}
