import { combine, union } from '../image/overlap.js';
import { renderOverlay } from '../image/overlay.js';
import type { Pixels } from '../image/pixels.js';
import { type Box, boxOf, decodeRle, type Rle } from '../image/rle.js';
import { loadSharp } from '../image/sharp.js';
import type { DataSet } from './data/dataset.js';
import type { EvaluatedObject } from './evaluate.js';

const MOST_COLUMNS = 4;
const ROWS_EACH = 2;
const TILE = 380;
const CAPTION = 46;
const GAP = 10;
const TITLE = 34;
const COLORS = [
  [0, 158, 115],
  [230, 90, 0],
  [190, 60, 220],
] as const;

/**
 * The objects that went worst and best, by their IoU after the last click (then by their mean), as one picture. Each is
 * shown with what is right (green), missing (orange) and too much (purple), and with its clicks.
 */
export async function renderSheet(
  objects: readonly EvaluatedObject[],
  data: DataSet,
  format: 'png' | 'jpeg' | 'webp' = 'png',
): Promise<Buffer> {
  const order = [...objects].sort((a, b) => a.ious.at(-1)! - b.ious.at(-1)! || sum(a.ious) - sum(b.ious));
  const count = Math.min(MOST_COLUMNS * ROWS_EACH, Math.ceil(order.length / 2));
  const worst = order.slice(0, count);
  const best = order.slice(count).slice(-count).reverse();
  const columns = Math.min(MOST_COLUMNS, count);
  const sharp = await loadSharp();
  const tiles: { input: Buffer; left: number; top: number }[] = [];
  const texts: string[] = [];
  let top = 0;
  for (const [title, list] of [
    ['Worst', worst],
    ['Best', best],
  ] as const) {
    if (list.length === 0) continue;
    texts.push(text(GAP, top + TITLE - 10, `${title} after ${list[0]!.ious.length} clicks`, 20, true));
    top += TITLE;
    for (const [i, object] of list.entries()) {
      const left = GAP + (i % columns) * (TILE + GAP);
      const at = top + Math.floor(i / columns) * (TILE + CAPTION);
      tiles.push({ input: await tile(object, data), left, top: at });
      texts.push(...caption(object, left, at + TILE));
    }
    top += Math.ceil(list.length / columns) * (TILE + CAPTION);
  }
  const width = GAP + columns * (TILE + GAP);
  const height = top + TITLE;
  texts.push(...legend(top + TITLE - 12));
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif">${texts.join('')}</svg>`;
  return sharp({ create: { width, height, channels: 3, background: '#fff' } })
    .composite([...tiles, { input: Buffer.from(svg), left: 0, top: 0 }])
    .removeAlpha()
    .toFormat(format)
    .toBuffer();
}

const sum = (values: readonly number[]) => values.reduce((total, value) => total + value, 0);

/** XML has no way to write a control character. */
const escaped = (value: string) =>
  value.replace(/[\p{Cc}\ufffe\uffff]/gu, '\ufffd').replace(/[<>&"]/g, (char) => `&#${char.charCodeAt(0)};`);

const text = (x: number, y: number, value: string, size: number, bold = false) =>
  `<text x="${x}" y="${y}" font-size="${size}"${bold ? ' font-weight="bold"' : ''}>${escaped(value)}</text>`;

function caption({ picture, object, ious, boxIou }: EvaluatedObject, left: number, top: number): string[] {
  const name = object.startsWith(picture.replace(/\.\w+$/, '')) ? object : `${picture} ${object}`;
  const short = name.length > 44 ? `…${name.slice(-43)}` : name;
  const at = (count: number) => `@${count} ${ious[count - 1]!.toFixed(3)}`;
  const counts = [...new Set([1, 3, 5, ious.length])].filter((count) => count <= ious.length);
  const box = boxIou === undefined ? '' : `box ${boxIou.toFixed(3)}  `;
  return [
    text(left, top + 17, short, 14),
    text(left, top + 36, `IoU ${box}${counts.map(at).join('  ')}`, 15, true),
  ];
}

const legend = (y: number): string[] =>
  ['right', 'missing', 'too much'].flatMap((label, i) => {
    const x = GAP + i * 130;
    const fill = `rgb(${COLORS[i]!.join(',')})`;
    return [
      `<rect x="${x}" y="${y - 14}" width="18" height="18" fill="${fill}"/>`,
      text(x + 26, y, label, 15),
    ];
  });

/** The part of a picture around an object and what was predicted for it. */
async function tile(object: EvaluatedObject, data: DataSet): Promise<Buffer> {
  const picture = await data.pictures.find(({ name }) => name === object.picture)!.read();
  const { mask, truth, clicks } = object;
  const window = around(boxOf(union(mask, truth)), picture);
  const [x0, y0, x1, y1] = window;
  const scale = TILE / Math.max(x1 - x0, y1 - y0);
  const [width, height] = [x1 - x0, y1 - y0].map((side) => Math.max(1, Math.round(side * scale))) as [
    number,
    number,
  ];
  const sharp = await loadSharp();
  const small = await sharp(picture.data, {
    raw: { width: picture.width, height: picture.height, channels: picture.channels },
    limitInputPixels: false,
  })
    .extract({ left: x0, top: y0, width: x1 - x0, height: y1 - y0 })
    .resize(width, height, { fit: 'fill' })
    .toColourspace('srgb')
    .removeAlpha()
    .raw()
    .toBuffer();
  const parts = [
    combine(mask, truth, (inMask, inTruth) => inMask && inTruth),
    combine(mask, truth, (inMask, inTruth) => !inMask && inTruth),
    combine(mask, truth, (inMask, inTruth) => inMask && !inTruth),
  ];
  const drawn = await renderOverlay(
    { data: small, width, height, channels: 3 },
    {
      masks: parts.map((part) => sampled(part, window, width, height)),
      colors: COLORS,
      points: clicks.map(({ x, y, label }) => ({
        x: (x + 0.5 - x0) * scale,
        y: (y + 0.5 - y0) * scale,
        label,
      })),
      alpha: 0.4,
    },
  );
  const shape = { width: TILE, height: TILE, fit: 'contain', background: '#eee' } as const;
  return sharp(drawn).resize(shape).png().toBuffer();
}

/** A box with a margin, at least an eighth of the picture's longest side, whole pixels inside the picture. */
function around([x0, y0, x1, y1]: Box, { width, height }: Pixels): Box {
  const margin = Math.max(0.2 * Math.max(x1 - x0, y1 - y0), Math.max(width, height) / 16);
  return [
    Math.max(0, Math.floor(x0 - margin)),
    Math.max(0, Math.floor(y0 - margin)),
    Math.min(width, Math.ceil(x1 + margin)),
    Math.min(height, Math.ceil(y1 + margin)),
  ];
}

/** The part of a mask in a window, one sample for each pixel of the tile. */
function sampled(mask: Rle, [x0, y0, x1, y1]: Box, width: number, height: number): Uint8Array {
  const pixels = decodeRle(mask);
  const stride = mask.size[1];
  const small = new Uint8Array(width * height);
  for (let y = 0, i = 0; y < height; y++) {
    const row = y0 + Math.floor(((y + 0.5) * (y1 - y0)) / height);
    for (let x = 0; x < width; x++, i++)
      small[i] = pixels[row * stride + x0 + Math.floor(((x + 0.5) * (x1 - x0)) / width)]!;
  }
  return small;
}
