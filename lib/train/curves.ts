import { type Curve, plot } from '../image/plot.js';
import type { LogLine, ValidationLine } from './run_folder.js';

/** A curve's points at most: more would not be seen. */
const POINTS = 300;

/** Loss above, everything else that lies between 0 and 1 below, over the steps; one PNG. */
export async function renderCurves(
  log: readonly LogLine[],
  validations: readonly ValidationLine[] = [],
): Promise<Buffer> {
  const names = [...new Set(log.flatMap((line) => Object.keys(line)))];
  const shares = names.filter((name) => !['step', 'loss', 'rate', 'speed'].includes(name));
  const curve = (name: string): Curve => ({ name, points: thinned(log, name) });
  const last = log.at(-1)?.step ?? 1;
  const panels = [{ title: 'loss', curves: [curve('loss')], last }];
  if (shares.length > 0) panels.push({ title: 'IoU of the samples', curves: shares.map(curve), last });
  if (validations.length > 0) {
    const points = (name: 'iou' | 'miou') => validations.map((line) => [line.step, line[name]] as const);
    const curves = [
      { name: 'one click', points: points('iou') },
      { name: 'five', points: points('miou') },
    ];
    panels.push({ title: 'IoU of the validation', curves, last: Math.max(last, validations.at(-1)!.step) });
  }
  return plot(panels);
}

/** Means over stretches of equal length. */
function thinned(log: readonly LogLine[], name: string): [number, number][] {
  const lines = log.filter((line) => Number.isFinite(line[name]));
  const each = Math.max(1, Math.ceil(lines.length / POINTS));
  const points: [number, number][] = [];
  for (let i = 0; i < lines.length; i += each) {
    const part = lines.slice(i, i + each);
    const mean = (key: string) => part.reduce((sum, line) => sum + line[key]!, 0) / part.length;
    points.push([mean('step'), mean(name)]);
  }
  return points;
}
