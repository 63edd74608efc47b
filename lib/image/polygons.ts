import { HrsamError } from '../errors.js';
import { optionsOf } from '../options.js';
import { checkMask } from './pixels.js';
import { type Ring, simplifyRing } from './simplify.js';

/** One connected part of a mask, in pixel corners: pixel (0, 0) is the square from [0, 0] to [1, 1]. */
export interface Polygon {
  /** Clockwise as seen on the screen (y down). */
  outer: Ring;
  /** Counter-clockwise. */
  holes: Ring[];
  /** Enclosed pixels: of the exact outline, holes taken off. */
  area: number;
}

/** Options of `Mask.polygons`. */
export interface PolygonOptions {
  /** Largest distance, in pixels, by which a simplified outline may leave the exact one. Default 0: exact. */
  tolerance?: number;
  /** Polygons and holes of fewer pixels are left out. Default 0. */
  minArea?: number;
}

const checkOptions = optionsOf<PolygonOptions>({ tolerance: true, minArea: true });

/**
 * The outlines of a mask (height · width bytes, set where not 0), in coordinates of pixel corners: pixel (0, 0) alone
 * is [0,0] [1,0] [1,1] [0,1]. Filling them gives the mask back, pixel for pixel. Pixels that touch only at a corner
 * belong to different polygons. Polygons come in the order of their topmost, then leftmost corner.
 */
export function maskToPolygons(
  mask: Uint8Array,
  height: number,
  width: number,
  options: PolygonOptions = {},
): Polygon[] {
  checkMask(mask, height, width);
  const polygons = new Map<number, Polygon>();
  traceRings(findCorners(mask, height, width)).forEach(({ ring, parent, area }, i) => {
    if (parent === i) polygons.set(i, { outer: ring, holes: [], area });
    else {
      const outer = polygons.get(parent)!;
      outer.area -= area;
      outer.holes.push(ring);
    }
  });
  return simplifyPolygons([...polygons.values()], options);
}

/** Polygons with fewer corners; those that vanish are left out. Areas stay those of the exact outlines. */
export function simplifyPolygons(polygons: Polygon[], options: PolygonOptions): Polygon[] {
  checkOptions(options, 'polygons');
  const { tolerance = 0, minArea = 0 } = options;
  for (const [name, value] of Object.entries({ tolerance, minArea }))
    if (typeof value !== 'number' || !(value >= 0))
      throw new HrsamError('ERR_ARGUMENT', name, { expected: 'a number from 0', actual: value });
  const large = minArea > 0 ? (ring: Ring) => ringArea(ring) >= minArea : () => true;
  const kept = minArea > 0 ? polygons.filter(({ area }) => area >= minArea) : polygons;
  const simple = tolerance > 0 ? (ring: Ring) => simplifyRing(ring, tolerance) : (ring: Ring) => ring;
  return kept
    .map(({ outer, holes, area }) => ({
      outer: simple(outer),
      holes: holes
        .filter(large)
        .map(simple)
        .filter((hole) => hole.length > 2),
      area,
    }))
    .filter(({ outer }) => outer.length > 2);
}

/**
 * The corners of all outlines. An outline is a chain of horizontal and vertical edges in turn, so a corner has one
 * partner of each kind; where four edges meet, there are two corners.
 */
interface Corners {
  count: number;
  x: Int32Array;
  y: Int32Array;
  /** The corner at the other end of the horizontal (vertical) edge. */
  across: Int32Array;
  along: Int32Array;
  /** For the left end of an edge with the mask above: a corner on the left border of the run above it; else -1. */
  above: Int32Array;
}

/**
 * Walks the lines between rows of pixels. A run of set pixels has a vertical edge at each end; on a line, the edges of
 * the row above and of the row below are merged from left to right, and where the two rows differ there is a
 * horizontal edge. Costs a look at each pixel and a step for each run.
 */
function findCorners(mask: Uint8Array, height: number, width: number): Corners {
  const corners = new CornerList();
  let above = new Int32Array(width + 2);
  let below = new Int32Array(width + 2);
  // The corner at the upper end of the vertical edge i of the row.
  let aboveOpen = new Int32Array(width + 2);
  let belowOpen = new Int32Array(width + 2);
  let aboveCount = 0;
  for (let y = 0; y <= height; y++) {
    const belowCount = y < height ? rowEdges(mask, y * width, width, below) : 0;
    let i = 0;
    let j = 0;
    let start = -1; // the corner at the left end of the horizontal edge that is open
    while (i < aboveCount || j < belowCount) {
      const x = Math.min(i < aboveCount ? above[i]! : width + 1, j < belowCount ? below[j]! : width + 1);
      const up = i < aboveCount && above[i] === x;
      const down = j < belowCount && below[j] === x;
      // Set pixels to the left of x, above and below the line.
      const aboveSet = (i & 1) === 1;
      const belowSet = (j & 1) === 1;
      if (up && down && aboveSet === belowSet) {
        belowOpen[j] = aboveOpen[i]!; // the vertical edge goes on
      } else {
        // The edge to the left ends here, one to the right begins, or both: then each goes on with the vertical edge
        // of its own pixels.
        if (start >= 0) {
          const end = corners.add(x, y, start, -1);
          if (up && (aboveSet || !down)) corners.join(end, aboveOpen[i]!);
          else belowOpen[j] = end;
          start = -1;
        }
        const aboveSetRight = aboveSet !== up;
        if (aboveSetRight !== (belowSet !== down)) {
          // The run above that lies to the right of x began at x, or at the edge before it.
          const border = !aboveSetRight ? -1 : aboveSet ? aboveOpen[i - 1]! : aboveOpen[i]!;
          start = corners.add(x, y, -1, border);
          if (up && (aboveSetRight || !down)) corners.join(start, aboveOpen[i]!);
          else belowOpen[j] = start;
        }
      }
      if (up) i++;
      if (down) j++;
    }
    [above, below] = [below, above];
    [aboveOpen, belowOpen] = [belowOpen, aboveOpen];
    aboveCount = belowCount;
  }
  return corners;
}

/** Columns where a row changes: each run's first, and the one after its last. */
function rowEdges(mask: Uint8Array, offset: number, width: number, edges: Int32Array): number {
  let count = 0;
  let inside = false;
  for (let x = 0; x < width; x++) {
    if ((mask[offset + x] !== 0) === inside) continue;
    edges[count++] = x;
    inside = !inside;
  }
  if (inside) edges[count++] = width;
  return count;
}

class CornerList implements Corners {
  count = 0;
  x = new Int32Array(256);
  y = new Int32Array(256);
  across = new Int32Array(256);
  along = new Int32Array(256);
  above = new Int32Array(256);

  add(x: number, y: number, across: number, above: number): number {
    const i = this.count++;
    if (i === this.x.length) this.grow();
    this.x[i] = x;
    this.y[i] = y;
    this.across[i] = across;
    this.above[i] = above;
    if (across >= 0) this.across[across] = i;
    return i;
  }

  join(a: number, b: number): void {
    this.along[a] = b;
    this.along[b] = a;
  }

  private grow(): void {
    for (const name of ['x', 'y', 'across', 'along', 'above'] as const) {
      const larger = new Int32Array(2 * this[name].length);
      larger.set(this[name]);
      this[name] = larger;
    }
  }
}

interface TracedRing {
  ring: Ring;
  /** For a hole: the index of the ring around it; else its own index. */
  parent: number;
  area: number;
}

function traceRings(corners: Corners): TracedRing[] {
  const { count, x, y, across, along, above } = corners;
  const rings: TracedRing[] = [];
  const ringOf = new Int32Array(count).fill(-1);
  for (let first = 0; first < count; first++) {
    if (ringOf[first] !== -1) continue;
    // The first corner of a ring is the left end of its topmost edge. With the mask above that edge it is a hole's,
    // which is walked the other way round: down first.
    const hole = above[first] !== -1;
    const ring: Ring = [];
    let at = first;
    let horizontal = !hole;
    do {
      ring.push([x[at]!, y[at]!]);
      ringOf[at] = rings.length;
      const next = horizontal ? across[at]! : along[at]!;
      horizontal = !horizontal;
      at = next;
    } while (at !== first);
    // The run above the hole borders on the outer ring, or on a hole seen before whose parent is known.
    const parent = hole ? rings[ringOf[above[first]!]!]!.parent : rings.length;
    rings.push({ ring, parent, area: ringArea(ring) });
  }
  return rings;
}

/** Enclosed area, whichever way the ring runs. */
function ringArea(ring: Ring): number {
  let twice = 0;
  let [px, py] = ring[ring.length - 1]!;
  for (const [x, y] of ring) {
    twice += px * y - x * py;
    [px, py] = [x, y];
  }
  return Math.abs(twice) / 2;
}
