import { type Panel, plot } from '../image/plot.js';
import type { EvaluatedObject } from './evaluate.js';
import { mean } from './metrics.js';

/** What was judged, and on what. */
export interface Judged {
  name: string;
  objects: readonly EvaluatedObject[];
}

/** IoU, in percent, that objects are counted at. */
const REACHED = [90, 95];

/**
 * Over the clicks: mean IoU, and the share of the objects that reached 90 and 95 %, above which the area is NoC; a curve for
 * each of the judged. Click 0 is the box alone, where objects start with one. One PNG.
 */
export function renderCurves(judged: readonly Judged[], clicks: number): Promise<Buffer> {
  const panel = (title: string, after: (ious: readonly number[]) => number): Panel => ({
    title,
    last: clicks,
    high: 1,
    curves: judged.map(({ name, objects }) => {
      const boxed = objects.every(({ boxIou }) => boxIou !== undefined);
      const counts = Array.from({ length: clicks + 1 }, (_, count) => count).slice(boxed ? 0 : 1);
      const ious = objects.map(({ boxIou, ious }) => [boxIou ?? 0, ...ious]);
      return { name, points: counts.map((k) => [k, mean(ious.map((each) => after(each.slice(0, k + 1))))]) };
    }),
  });
  return plot([
    panel('mean IoU after so many clicks', (ious) => ious.at(-1)!),
    ...REACHED.map((q) =>
      panel(`share of the objects that reached ${q} %`, (ious) => (Math.max(...ious) >= q / 100 ? 1 : 0)),
    ),
  ]);
}
