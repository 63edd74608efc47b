import { loadSharp } from './sharp.js';

const WIDTH = 900;
const PANEL = 260;
const MARGIN = { left: 64, right: 110, top: 34, bottom: 30 };
const COLORS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00'];
/** Between two lines of text. */
const LINE = 15;

export interface Curve {
  name: string;
  /** [x, y], by x. */
  points: readonly (readonly [number, number])[];
}

/** Curves over the same axes. */
export interface Panel {
  title: string;
  curves: readonly Curve[];
  /** x goes from 0 to it: a whole number. */
  last: number;
  /** y goes from 0 to it; default: to the largest there is. */
  high?: number;
}

/** Panels below each other; one PNG. */
export async function plot(panels: readonly Panel[]): Promise<Buffer> {
  const drawn = panels.map((panel, i) => draw(panel, i * PANEL));
  const svg =
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${panels.length * PANEL}" ` +
    `font-family="sans-serif" font-size="13"><rect width="100%" height="100%" fill="#fff"/>${drawn.join('')}</svg>`;
  const sharp = await loadSharp();
  return sharp(Buffer.from(svg)).png().toBuffer();
}

function draw({ title, curves, last, high: wanted }: Panel, top: number): string {
  const values = curves.flatMap(({ points }) => points.map(([, y]) => y));
  const [low, high] = [Math.min(0, ...values), wanted ?? Math.max(...values, 1e-9)];
  const bottom = top + PANEL - MARGIN.bottom;
  const x = (step: number) => MARGIN.left + ((WIDTH - MARGIN.left - MARGIN.right) * step) / last;
  const y = (value: number) => bottom - ((PANEL - MARGIN.top - MARGIN.bottom) * (value - low)) / (high - low);
  const parts = [`<text x="${MARGIN.left}" y="${top + 22}" font-weight="bold">${title}</text>`];
  const steps = Math.ceil(last / 4);
  for (let i = 0; i <= 4; i++) {
    const value = low + ((high - low) * i) / 4;
    parts.push(
      `<path d="M${MARGIN.left} ${y(value)}H${WIDTH - MARGIN.right}" stroke="#ddd"/>`,
      `<text x="${MARGIN.left - 8}" y="${y(value) + 4}" text-anchor="end" fill="#555">${value.toPrecision(2)}</text>`,
    );
    if (i * steps <= last)
      parts.push(
        `<text x="${x(i * steps)}" y="${top + PANEL - 10}" text-anchor="middle" fill="#555">${i * steps}</text>`,
      );
  }
  const ends = curves.flatMap(({ points }) => points.slice(-1)).map(([, value]) => y(value));
  const labels = apart(ends, bottom);
  for (const [i, { name, points }] of curves.filter(({ points }) => points.length > 0).entries()) {
    const color = COLORS[i % COLORS.length]!;
    const line = points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    const [step, value] = points.at(-1)!;
    parts.push(
      `<polyline points="${line}" fill="none" stroke="${color}" stroke-width="1.6"/>`,
      `<text x="${x(step) + 6}" y="${labels[i]! + 4}" fill="${color}">${name} ${value.toPrecision(3)}</text>`,
    );
  }
  return parts.join('');
}

/** Heights of lines of text, moved down so that none covers another, and up again where there is no more room. */
export function apart(heights: readonly number[], bottom: number): number[] {
  const order = heights.map((_, i) => i).sort((a, b) => heights[a]! - heights[b]!);
  const moved = [...heights];
  let above = -Infinity;
  for (const i of order) above = moved[i] = Math.max(moved[i]!, above + LINE);
  let below = bottom + LINE;
  for (const i of order.reverse()) below = moved[i] = Math.min(moved[i]!, below - LINE);
  return moved;
}
