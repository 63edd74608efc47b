// Accuracy and time over the size, one line for each variant.
import sharp from 'sharp';

const WIDTH = 1080;
const HEIGHT = 490;
const PLOT = { top: 48, bottom: 400, width: 420 };
const LEFT = [70, 610];
/** Okabe and Ito's: told apart by colour-blind eyes. */
const COLORS = ['#000000', '#e69f00', '#56b4e9', '#009e73', '#d55e00'];

/** @param claim what `summarise` gives @returns a PNG */
export function renderPlot(claim) {
  return sharp(Buffer.from(plotSvg(claim)))
    .png({ palette: true })
    .toBuffer();
}

export function plotSvg({ sizes, clicks, variants }) {
  const lines = (value) => variants.map(({ results }) => results.map(value));
  const accuracy = lines(({ iouAtClicks }) => iouAtClicks[clicks]);
  const time = lines(({ ms }) => ms);
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${HEIGHT}" font-family="sans-serif" ` +
    `font-size="13"><rect width="100%" height="100%" fill="#fff"/>` +
    panel(LEFT[0], `IoU after ${clicks} clicks`, sizes, accuracy, linearScale(accuracy.flat())) +
    panel(LEFT[1], 'milliseconds an image', sizes, time, logScale(time.flat())) +
    legend(variants) +
    '</svg>'
  );
}

/** From 0 to 1 over the values, with round marks outside them. */
function linearScale(values) {
  const step = [0.01, 0.02, 0.05, 0.1, 0.2].find((each) => spread(values) / each <= 6) ?? 0.2;
  const low = Math.floor(Math.min(...values) / step) * step;
  const high = Math.max(low + step, Math.ceil(Math.max(...values) / step) * step);
  const marks = Array.from({ length: Math.round((high - low) / step) + 1 }, (_, i) => low + i * step);
  return { at: (value) => (value - low) / (high - low), marks, show: (value) => value.toFixed(2) };
}

/** The same by the logarithm. */
function logScale(values) {
  const all = Array.from({ length: 24 }, (_, i) => [1, 2, 5][i % 3] * 10 ** (Math.floor(i / 3) - 2));
  const low = all.findLast((mark) => mark <= Math.min(...values)) ?? all[0];
  const high = all.find((mark) => mark > Math.max(...values)) ?? all.at(-1);
  const marks = all.filter((mark) => mark >= low && mark <= high);
  return { at: (value) => Math.log(value / low) / Math.log(high / low), marks, show: String };
}

const spread = (values) => Math.max(...values) - Math.min(...values);

function panel(left, title, sizes, lines, { at, marks, show }) {
  const { top, bottom, width } = PLOT;
  const x = (i) => left + (width * (i + 0.15)) / (sizes.length - 0.7);
  const y = (value) => (bottom - (bottom - top) * at(value)).toFixed(1);
  const parts = [`<text x="${left}" y="${top - 20}" font-weight="bold">${title}</text>`];
  for (const mark of marks)
    parts.push(
      `<path d="M${left} ${y(mark)}h${width}" stroke="#ddd"/>`,
      `<text x="${left - 8}" y="${Number(y(mark)) + 4}" text-anchor="end" fill="#555">${show(mark)}</text>`,
    );
  for (const [i, size] of sizes.entries())
    parts.push(
      `<text x="${x(i).toFixed(1)}" y="${bottom + 20}" text-anchor="middle" fill="#555">${size} × ${size}</text>`,
    );
  for (const [k, line] of lines.entries()) {
    const points = line.map((value, i) => [x(i).toFixed(1), y(value)]);
    parts.push(
      `<polyline points="${points.map((point) => point.join(',')).join(' ')}" fill="none" ` +
        `stroke="${COLORS[k % COLORS.length]}" stroke-width="2"/>`,
      ...points.map(
        ([cx, cy]) => `<circle cx="${cx}" cy="${cy}" r="3.5" fill="${COLORS[k % COLORS.length]}"/>`,
      ),
    );
  }
  return parts.join('');
}

/** Rows of three below the plots. */
function legend(variants) {
  return variants
    .map(({ title }, k) => {
      const x = LEFT[0] + (k % 3) * 330;
      const y = PLOT.bottom + 50 + 22 * Math.floor(k / 3);
      return (
        `<path d="M${x} ${y - 4}h18" stroke="${COLORS[k % COLORS.length]}" stroke-width="3"/>` +
        `<text x="${x + 25}" y="${y}">${title}</text>`
      );
    })
    .join('');
}
