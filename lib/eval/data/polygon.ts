import type { Rle } from '../../image/rle.js';

/** The finer grid that outlines are walked on. */
const SCALE = 5;

/**
 * A polygon as pycocotools fills it, pixel for pixel: its edges are drawn on a grid five times as fine, and where the
 * line passes the middle of a pixel's column, the column changes sides at the next row.
 * @param outline x0, y0, x1, y1, … in pixels
 */
export function polygonMask(outline: ArrayLike<number>, height: number, width: number): Rle {
  const corners = Math.floor(outline.length / 2);
  const grid = Array.from({ length: corners * 2 }, (_, i) => Math.trunc(SCALE * outline[i]! + 0.5));
  /** Positions, column by column, where the mask begins or ends. */
  const changes: number[] = [];
  let previous: [number, number] | undefined;
  const visit = (u: number, v: number) => {
    if (previous && previous[0] !== u) cross(previous, [u, v]);
    previous = [u, v];
  };
  const cross = ([u0, v0]: [number, number], [u1, v1]: [number, number]) => {
    const x = (u1 < u0 ? u1 : u1 - 1) + 0.5;
    const column = x / SCALE - 0.5;
    if (column !== Math.floor(column) || column < 0 || column > width - 1) return;
    const y = (Math.min(v0, v1) + 0.5) / SCALE - 0.5;
    changes.push(column * height + Math.ceil(Math.min(height, Math.max(0, y))));
  };
  for (let i = 0; i < corners; i++) {
    const j = (i + 1) % corners;
    walk(grid[2 * i]!, grid[2 * i + 1]!, grid[2 * j]!, grid[2 * j + 1]!, visit);
  }
  return between(changes, height, width);
}

/** Grid points of a line, one for each step along its longer axis; always computed from the axis' lower end. */
function walk(x0: number, y0: number, x1: number, y1: number, visit: (u: number, v: number) => void): void {
  const [dx, dy] = [Math.abs(x1 - x0), Math.abs(y1 - y0)];
  const steps = Math.max(dx, dy);
  const backwards = (dx >= dy && x0 > x1) || (dx < dy && y0 > y1);
  const [fromX, fromY, toX, toY] = backwards ? [x1, y1, x0, y0] : [x0, y0, x1, y1];
  const slope = steps === 0 ? 0 : dx >= dy ? (toY - fromY) / dx : (toX - fromX) / dy;
  for (let i = 0; i <= steps; i++) {
    const t = backwards ? steps - i : i;
    if (dx >= dy) visit(t + fromX, Math.trunc(fromY + slope * t + 0.5));
    else visit(Math.trunc(fromX + slope * t + 0.5), t + fromY);
  }
}

/** A mask that begins and ends in turn at some positions; an even number of them at one place cancels out. */
function between(positions: readonly number[], height: number, width: number): Rle {
  const odd = new Set<number>();
  for (const position of positions) if (!odd.delete(position)) odd.add(position);
  const edges = [...odd].filter((position) => position < height * width).sort((a, b) => a - b);
  const counts = [...edges, height * width].map((edge, i) => edge - (edges[i - 1] ?? 0));
  return { size: [height, width], counts };
}
