// How many times as fast as PyTorch's fastest way: a picture of the tables' last column.
import { digits, fastestRival, isEncoder, runs, shown } from './tables.mjs';

const WIDTH = 880;
const LEFT = 330;
const RIGHT = 820;
const TOP = 46;
const HEADING = 34;
const BAR = 13;
const GAP = 7;
/** Okabe and Ito's: told apart by colour-blind eyes. */
const COLORS = { f32: '#0072b2', bf16: '#e69f00' };

/** What a processor is used with: virtual machines name all of a maker alike. */
const instructions = ({ detail = '' }) => detail.match(/^using (\w+)/)?.slice(1) ?? [];

/** @returns an SVG; undefined where there is nothing to compare with */
export function chart(documents) {
  const groups = runs(documents)
    .filter(({ rivals }) => rivals)
    .map(({ ours, rivals }) => ({
      title: [ours.device.name, ...instructions(ours.device), rivals.by].join(', '),
      bars: bars(ours, rivals),
    }))
    .filter((group) => group.bars.length > 0);
  if (groups.length === 0) return undefined;
  const most = Math.max(...groups.flatMap((group) => group.bars.map(({ times }) => times)));
  const least = Math.min(0.5, ...groups.flatMap((group) => group.bars.map(({ times }) => times)));
  const [low, high] = [2 ** Math.floor(Math.log2(least)), 2 ** Math.ceil(Math.log2(most))];
  const x = (times) => LEFT + ((RIGHT - LEFT) * Math.log2(times / low)) / Math.log2(high / low);
  const parts = [];
  let y = TOP;
  for (const { title, bars: group } of groups) {
    parts.push(text(16, y + 20, title, 'font-weight="bold"'));
    y += HEADING;
    for (const [i, bar] of group.entries()) {
      if (i > 0 && bar.label !== group[i - 1].label) y += GAP;
      if (bar.label !== group[i - 1]?.label)
        parts.push(text(LEFT - 10, y + 11, bar.label, 'text-anchor="end"'));
      const [from, to] = [Math.min(x(1), x(bar.times)), Math.max(x(1), x(bar.times))];
      parts.push(
        `<rect x="${fixed(from)}" y="${y}" width="${fixed(to - from)}" height="${BAR - 1}" fill="${COLORS[bar.dtype]}"/>`,
        text(to + 5, y + 11, `${digits(bar.times)} ×`, 'font-size="11" fill="#555"'),
      );
      y += BAR;
    }
    y += 12;
  }
  const marks = Array.from({ length: Math.log2(high / low) + 1 }, (_, i) => low * 2 ** i);
  const scale = marks.map(
    (mark) =>
      `<path d="M${fixed(x(mark))} ${TOP}V${y}" stroke="${mark === 1 ? '#000' : '#ddd'}"/>` +
      text(x(mark), TOP - 6, String(mark), 'text-anchor="middle" fill="#555"'),
  );
  const legend = Object.entries(COLORS).map(
    ([dtype, color], i) =>
      `<rect x="${700 + 70 * i}" y="8" width="12" height="12" fill="${color}"/>` +
      text(717 + 70 * i, 19, dtype),
  );
  return (
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${y}" font-family="sans-serif" font-size="13">` +
    `<rect width="100%" height="100%" fill="#fff"/>` +
    [
      text(16, 19, 'Times as fast as PyTorch’s fastest way, same machine, same run'),
      ...legend,
      ...scale,
      ...parts,
    ].join('\n') +
    '</svg>\n'
  );
}

/** Encoders first; rows of the same kind one below the other, whatever their type. */
function bars(ours, rivals) {
  const rows = ours.rows.filter(shown);
  const sorted = [true, false].flatMap((want) => rows.filter((row) => isEncoder(row) === want));
  const made = sorted.flatMap((row) => {
    const fastest = fastestRival(row, rivals.rows);
    if (!fastest || !(row.dtype in COLORS)) return [];
    const batch = row.batch === 1 ? '' : `, batch ${row.batch}`;
    return [
      { label: `${row.what}, ${row.size}${batch}`, dtype: row.dtype, times: fastest.median / row.median },
    ];
  });
  const labels = [...new Set(made.map(({ label }) => label))];
  return labels.flatMap((label) => made.filter((bar) => bar.label === label));
}

const fixed = (value) => value.toFixed(1);
const escaped = (value) => value.replace(/[&<>]/g, (sign) => `&#${sign.charCodeAt(0)};`);
const text = (x, y, value, more = '') => `<text x="${fixed(x)}" y="${y}" ${more}>${escaped(value)}</text>`;
