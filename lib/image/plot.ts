import { loadSharp } from './sharp.js';

const WIDTH = 900;
const PANEL = 260;
const MARGIN = { left: 64, right: 110, top: 34, bottom: 30 };
const COLORS = ['#0072b2', '#d55e00', '#009e73', '#cc79a7', '#e69f00'];

export interface Curve {
  name: string;
  /** [x, y], by x. */
  points: readonly (readonly [number, number])[];
}

/** Curves over the same axes, x from 0 to `last`. */
export interface Panel {
  title: string;
  curves: readonly Curve[];
  last: number;
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

function draw({ title, curves, last }: Panel, top: number): string {
  const values = curves.flatMap(({ points }) => points.map(([, y]) => y));
  const [low, high] = [Math.min(0, ...values), Math.max(...values, 1e-9)];
  const x = (step: number) => MARGIN.left + ((WIDTH - MARGIN.left - MARGIN.right) * step) / last;
  const y = (value: number) =>
    top + PANEL - MARGIN.bottom - ((PANEL - MARGIN.top - MARGIN.bottom) * (value - low)) / (high - low);
  const parts = [`<text x="${MARGIN.left}" y="${top + 22}" font-weight="bold">${title}</text>`];
  for (let i = 0; i <= 4; i++) {
    const value = low + ((high - low) * i) / 4;
    const step = (last * i) / 4;
    parts.push(
      `<path d="M${MARGIN.left} ${y(value)}H${WIDTH - MARGIN.right}" stroke="#ddd"/>`,
      `<text x="${MARGIN.left - 8}" y="${y(value) + 4}" text-anchor="end" fill="#555">${value.toPrecision(2)}</text>`,
      `<text x="${x(step)}" y="${top + PANEL - 10}" text-anchor="middle" fill="#555">${Math.round(step)}</text>`,
    );
  }
  for (const [i, { name, points }] of curves.entries()) {
    if (points.length === 0) continue;
    const color = COLORS[i % COLORS.length]!;
    const line = points.map(([step, value]) => `${x(step).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    const end = points.at(-1)!;
    parts.push(
      `<polyline points="${line}" fill="none" stroke="${color}" stroke-width="1.6"/>`,
      `<text x="${x(end[0]) + 6}" y="${y(end[1]) + 4}" fill="${color}">${name} ${end[1].toPrecision(3)}</text>`,
    );
  }
  return parts.join('');
}
