import type { Pixels } from '../../image/pixels.js';
import { longestSide } from '../../image/resize.js';
import { type Box, encodeRle, type Rle } from '../../image/rle.js';
import { loadSharp } from '../../image/sharp.js';
import type { Answer, Method, OpenedPicture, Step } from '../method.js';
import { type Edges, relaxedCut } from './cut.js';
import { ColourMixture } from './mixture.js';

/** Longest side that pictures are brought to: colours hardly change, and a click takes a fraction of a second. */
const SIZE = 224;
/** Radius of what a click fixes, and of what the first one takes for the object; width of the frame: of the longest side. */
const CLICK_RADIUS = 0.012;
const START_RADIUS = 0.05;
const FRAME = 0.03;
/** Rounds of fitting colours and cutting. */
const ROUNDS = 3;
/** What parting two pixels of one colour costs, against the logarithms of densities. */
const SMOOTHNESS = 12;
const CERTAIN = 1e3;

/**
 * A colour model from clicks, after GrabCut (Rother et al., 2004): mixtures of Gaussians of the object's colours and of
 * the rest, a cut that follows edges, both in turn; what does not hang together with a positive click is dropped. The
 * first click knows no box, so the object starts as discs around positive clicks and the background as the picture's
 * frame and discs around negative ones; each click starts anew, for a wrong start would teach wrong colours for good.
 */
export class GrabCutBaseline implements Method {
  readonly name = 'grabcut';

  async open(picture: Pixels): Promise<OpenedPicture> {
    const { height, width } = longestSide(picture.height, picture.width, Math.min(SIZE, longest(picture)));
    const sharp = await loadSharp();
    const { data, width: fullWidth, height: fullHeight, channels } = picture;
    const small = await sharp(data, {
      raw: { width: fullWidth, height: fullHeight, channels },
      limitInputPixels: false,
    })
      .resize(width, height, { fit: 'fill', kernel: 'linear' })
      .toColourspace('srgb')
      .removeAlpha()
      .raw()
      .toBuffer();
    const colours = Float32Array.from(small);
    return new ColourCut(colours, [height, width], [fullHeight, fullWidth]);
  }
}

const longest = ({ height, width }: Pixels): number => Math.max(height, width);

class ColourCut implements OpenedPicture {
  readonly #edges: Edges;

  constructor(
    readonly colours: Float32Array,
    readonly size: readonly [number, number],
    readonly full: readonly [number, number],
  ) {
    this.#edges = edgesOf(colours, size);
  }

  async answer({ clicks, box }: Step): Promise<Answer> {
    const [height, width] = this.size;
    const scaled = clicks.map(({ x, y, label }) => ({
      x: ((x + 0.5) * width) / this.full[1],
      y: ((y + 0.5) * height) / this.full[0],
      label,
    }));
    const seeds = this.#seeds(scaled, box);
    const inside = this.#start(scaled, box, seeds);
    const known = box ? undefined : this.#background(scaled);
    for (let round = 0; round < ROUNDS; round++) {
      const cost = this.#costs(inside, seeds, round === 0 ? known : undefined);
      if (!cost) break;
      relaxedCut(cost, this.#edges, inside, this.size);
      keepClicked(inside, scaled, this.size);
    }
    return { mask: await enlarged(inside, this.size, this.full) };
  }

  [Symbol.dispose](): void {}

  #seeds(clicks: readonly Spot[], box: Box | undefined): Uint8Array {
    const [height, width] = this.size;
    const seeds = new Uint8Array(height * width).fill(UNKNOWN);
    if (box) {
      const [sx, sy] = [width / this.full[1], height / this.full[0]];
      eachPixel(this.size, (i, x, y) => {
        const within = x >= box[0] * sx - 1 && x <= box[2] * sx && y >= box[1] * sy - 1 && y <= box[3] * sy;
        if (!within) seeds[i] = BACKGROUND;
      });
    }
    const radius = Math.max(1, CLICK_RADIUS * Math.max(height, width));
    for (const click of clicks) paintDisc(seeds, this.size, click, radius, click.label ? OBJECT : BACKGROUND);
    return seeds;
  }

  #start(clicks: readonly Spot[], box: Box | undefined, seeds: Uint8Array): Float32Array {
    const disc = new Uint8Array(seeds.length);
    const radius = START_RADIUS * Math.max(...this.size);
    for (const click of clicks) if (click.label === 1) paintDisc(disc, this.size, click, radius, 1);
    return Float32Array.from(disc, (set, i) => (box ? Number(seeds[i] !== BACKGROUND) : set));
  }

  /** Where the rest's colours are first taken from: the frame and what lies around negative clicks. */
  #background(clicks: readonly Spot[]): Uint8Array {
    const known = frame(this.size);
    const radius = START_RADIUS * Math.max(...this.size);
    for (const click of clicks) if (click.label === 0) paintDisc(known, this.size, click, radius, 1);
    return known;
  }

  /** What each pixel costs inside, against outside; nothing where one of both sides has no pixel. */
  #costs(inside: Float32Array, seeds: Uint8Array, known: Uint8Array | undefined): Float32Array | undefined {
    const object: number[] = [];
    const rest: number[] = [];
    inside.forEach((u, i) => {
      if (u > 0.5) object.push(i);
      else if (!known || known[i] || seeds[i] === BACKGROUND) rest.push(i);
    });
    if (object.length === 0 || rest.length === 0) return undefined;
    const { colours } = this;
    const [objectColours, restColours] = [
      new ColourMixture(colours, object),
      new ColourMixture(colours, rest),
    ];
    return inside.map((_, i) => {
      if (seeds[i] !== UNKNOWN) return seeds[i] === OBJECT ? -CERTAIN : CERTAIN;
      const [r, g, b] = [colours[3 * i]!, colours[3 * i + 1]!, colours[3 * i + 2]!];
      return objectColours.cost(r, g, b) - restColours.cost(r, g, b);
    });
  }
}

const UNKNOWN = 0;
const OBJECT = 1;
const BACKGROUND = 2;

/** A click in pixels of the small picture. */
interface Spot {
  x: number;
  y: number;
  label: 0 | 1;
}

function eachPixel(
  [height, width]: readonly [number, number],
  visit: (i: number, x: number, y: number) => void,
) {
  for (let y = 0, i = 0; y < height; y++) for (let x = 0; x < width; x++, i++) visit(i, x, y);
}

/** The pixel of the click itself at least. */
function paintDisc(
  map: Uint8Array,
  [height, width]: readonly [number, number],
  { x, y }: Spot,
  radius: number,
  value: number,
): void {
  for (let v = Math.max(0, Math.floor(y - radius)); v <= Math.min(height - 1, y + radius); v++) {
    for (let u = Math.max(0, Math.floor(x - radius)); u <= Math.min(width - 1, x + radius); u++) {
      const near = (u + 0.5 - x) ** 2 + (v + 0.5 - y) ** 2 <= radius * radius;
      if (near || (u === Math.floor(x) && v === Math.floor(y))) map[v * width + u] = value;
    }
  }
}

function frame(size: readonly [number, number]): Uint8Array {
  const [height, width] = size;
  const band = Math.max(1, Math.round(FRAME * Math.max(height, width)));
  const map = new Uint8Array(height * width);
  eachPixel(size, (i, x, y) => {
    map[i] = Number(x < band || y < band || x >= width - band || y >= height - band);
  });
  return map;
}

function edgesOf(colours: Float32Array, size: readonly [number, number]): Edges {
  const [height, width] = size;
  const right = new Float32Array(height * width);
  const below = new Float32Array(height * width);
  const gap = (i: number, j: number) =>
    (colours[3 * i]! - colours[3 * j]!) ** 2 +
    (colours[3 * i + 1]! - colours[3 * j + 1]!) ** 2 +
    (colours[3 * i + 2]! - colours[3 * j + 2]!) ** 2;
  let sum = 0;
  eachPixel(size, (i, x, y) => {
    if (x + 1 < width) right[i] = gap(i, i + 1);
    if (y + 1 < height) below[i] = gap(i, i + width);
    sum += right[i]! + below[i]!;
  });
  const beta = sum > 0 ? (height * width) / sum : 0;
  const weight = (squared: number) => SMOOTHNESS * Math.exp(-beta * squared);
  return { right: right.map(weight), below: below.map(weight) };
}

/** Drops what does not hang together with a positive click. */
function keepClicked(
  inside: Float32Array,
  clicks: readonly Spot[],
  [height, width]: readonly [number, number],
) {
  const positive = clicks.filter(({ label }) => label === 1);
  if (positive.length === 0) return;
  const kept = new Uint8Array(inside.length);
  const pending = positive.map(({ x, y }) => Math.floor(y) * width + Math.floor(x));
  for (let i = pending.pop(); i !== undefined; i = pending.pop()) {
    if (kept[i] || inside[i]! <= 0.5) continue;
    kept[i] = 1;
    const x = i % width;
    if (x > 0) pending.push(i - 1);
    if (x + 1 < width) pending.push(i + 1);
    if (i >= width) pending.push(i - width);
    if (i + width < height * width) pending.push(i + width);
  }
  for (let i = 0; i < inside.length; i++) if (inside[i]! > 0.5 && !kept[i]) inside[i] = 0;
}

async function enlarged(
  inside: Float32Array,
  [height, width]: readonly [number, number],
  [fullHeight, fullWidth]: readonly [number, number],
): Promise<Rle> {
  const sharp = await loadSharp();
  const grey = Uint8Array.from(inside, (u) => Math.round(255 * u));
  const mask = await sharp(grey, { raw: { width, height, channels: 1 } })
    .resize(fullWidth, fullHeight, { fit: 'fill', kernel: 'linear' })
    .threshold(128)
    .toColourspace('b-w')
    .raw()
    .toBuffer();
  return encodeRle(mask, fullHeight, fullWidth);
}
