import { HrsamError } from '../errors.js';
import { optionsOf } from '../options.js';
import { checkMask, checkPixels, type Pixels } from './pixels.js';
import { maskToPolygons, type Polygon, simplifyPolygons } from './polygons.js';
import { loadSharp } from './sharp.js';
import { STEPS } from './simplify.js';

/** Red, green, blue, 0 to 255 each. */
export type Rgb = readonly [number, number, number];

/** What `renderOverlay` draws, and how. */
export interface OverlayOptions {
  /** Masks of the picture's size: height · width bytes, set where not 0. */
  masks?: readonly Uint8Array[];
  /** Prompts in the picture's pixels; label 0 is drawn as negative, any other as positive. */
  points?: readonly { x: number; y: number; label: number }[];
  /** [x0, y0, x1, y1] in the picture's pixels. */
  boxes?: readonly (readonly [number, number, number, number])[];
  /** Opacity of the masks, 0 to 1. Default 0.45. */
  alpha?: number;
  /** Colours of the masks, used in turn. */
  colors?: readonly Rgb[];
  /** Default `png`. */
  format?: (typeof FORMATS)[number];
}

const FORMATS = ['png', 'jpeg', 'webp'] as const;

const checkOptions = optionsOf<OverlayOptions>({
  masks: true,
  points: true,
  boxes: true,
  alpha: true,
  colors: true,
  format: true,
});

/** Far apart in hue, bright enough for dark pictures; from Okabe and Ito's set for colour-blind readers. */
const COLORS: readonly Rgb[] = [
  [0, 114, 255],
  [230, 159, 0],
  [0, 158, 115],
  [204, 121, 167],
  [86, 180, 233],
  [213, 94, 0],
  [240, 228, 66],
];

/** More corners than this make no line that could be seen, but minutes of drawing: outlines are then coarser. */
const MAX_CORNERS = 50_000;

/**
 * The picture with masks, their outlines and the prompts drawn over it, as an encoded file. Line widths follow the
 * picture's size. The drawing is vectors, so it is done outside the event loop but for tracing the outlines.
 * @throws HrsamError ERR_IMAGE, ERR_SHAPE, ERR_ARGUMENT
 */
export async function renderOverlay(picture: Pixels, options: OverlayOptions = {}): Promise<Buffer> {
  checkOptions(options, 'renderOverlay');
  const { data, width, height, channels } = checkPixels(picture, 'picture');
  const { format = 'png' } = options;
  if (!FORMATS.includes(format))
    throw new HrsamError('ERR_ARGUMENT', 'format', {
      where: 'overlay',
      expected: FORMATS.join(', '),
      actual: format,
    });
  const svg = drawing(width, height, options);
  const sharp = await loadSharp();
  try {
    return await sharp(data, { raw: { width, height, channels }, limitInputPixels: false })
      .removeAlpha()
      .toColourspace('srgb')
      .composite([{ input: Buffer.from(svg), limitInputPixels: false }])
      .removeAlpha()
      .toFormat(format)
      .toBuffer();
  } catch (cause) {
    throw new HrsamError('ERR_IMAGE', `the overlay cannot be drawn: ${(cause as Error).message}`, {
      where: `picture of ${width} x ${height}`,
      cause,
    });
  }
}

function drawing(width: number, height: number, options: OverlayOptions): string {
  const { masks = [], points = [], boxes = [], alpha = 0.45, colors = COLORS } = options;
  for (const [where, list] of Object.entries({ masks, points, boxes, colors }))
    if (!Array.isArray(list))
      throw new HrsamError('ERR_ARGUMENT', 'overlay', { where, expected: 'a list', actual: list });
  if (!(typeof alpha === 'number' && alpha >= 0 && alpha <= 1)) {
    throw new HrsamError('ERR_ARGUMENT', 'alpha is a number from 0 to 1', {
      where: 'overlay',
      actual: alpha,
    });
  }
  const line = Math.max(1.5, Math.max(width, height) / 500);
  const parts = Array.from(masks, (mask, i) => {
    checkMask(mask, height, width, `mask ${i}`);
    const color = rgb(colors[i % colors.length] ?? COLORS[0]!);
    return `<path d="${outlines(mask, height, width)}" fill="${color}" fill-opacity="${alpha}" stroke="${color}"/>`;
  });
  const frames = Array.from(boxes, (box, i) => {
    checkFinite(box, 4, `box ${i}`);
    const [x0, y0, x1, y1] = box;
    const [x, y] = [Math.min(x0, x1), Math.min(y0, y1)];
    const at = `x="${x}" y="${y}" width="${Math.abs(x1 - x0)}" height="${Math.abs(y1 - y0)}" fill="none"`;
    return `<rect ${at} stroke="#000" stroke-width="${3 * line}"/><rect ${at} stroke="#fff"/>`;
  });
  const markers = Array.from(points, (point, i) => {
    const { x, y, label } = point ?? {};
    checkFinite([x, y, label], 3, `point ${i}`);
    return marker(x, y, label !== 0, 3.5 * line + 1, line);
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">`,
    `<g stroke-width="${line}" stroke-linejoin="round" fill-rule="evenodd">`,
    ...parts,
    ...frames,
    ...markers,
    '</g></svg>',
  ].join('');
}

/** A disc with a dark and a white rim, to be seen on any ground: green with a plus, or red with a minus. */
function marker(x: number, y: number, positive: boolean, radius: number, line: number): string {
  const arm = radius * 0.55;
  const bars = `M${x - arm} ${y}h${2 * arm}${positive ? `M${x} ${y - arm}v${2 * arm}` : ''}`;
  const disc = `cx="${x}" cy="${y}" r="${radius}"`;
  return (
    `<circle ${disc} fill="none" stroke="#000" stroke-width="${3 * line}"/>` +
    `<circle ${disc} fill="${positive ? '#12a150' : '#d92c20'}" stroke="#fff"/>` +
    `<path d="${bars}" stroke="#fff"/>`
  );
}

function outlines(mask: Uint8Array, height: number, width: number): string {
  const exact = maskToPolygons(mask, height, width);
  let polygons = simplifyPolygons(exact, { tolerance: STEPS });
  for (let tolerance = 2; countCorners(polygons) > MAX_CORNERS; tolerance *= 2) {
    polygons = simplifyPolygons(exact, { tolerance, minArea: tolerance * tolerance });
  }
  return polygons
    .flatMap(({ outer, holes }) => [outer, ...holes])
    .map((ring) => `M${ring.map(([x, y]) => `${x} ${y}`).join('L')}Z`)
    .join('');
}

const countCorners = (polygons: readonly Polygon[]) =>
  polygons.reduce((sum, { outer, holes }) => sum + outer.length + holes.reduce((n, h) => n + h.length, 0), 0);

const rgb = (color: Rgb) => {
  checkFinite(color, 3, 'colour');
  return `rgb(${color.join()})`;
};

function checkFinite(values: readonly number[], count: number, where: string): void {
  // Also keeps text out of the drawing.
  if (Array.isArray(values) && values.length === count && values.every((value) => Number.isFinite(value)))
    return;
  throw new HrsamError('ERR_ARGUMENT', `expected ${count} finite numbers`, { where, actual: values });
}
