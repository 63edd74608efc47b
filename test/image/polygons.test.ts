import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { maskToPolygons, type Polygon, type PolygonOptions } from '../../lib/image/polygons.js';
import { type Ring, simplifyRing } from '../../lib/image/simplify.js';

const maskOf = (rows: string[]) => Uint8Array.from(rows.join(''), (pixel) => (pixel === '#' ? 1 : 0));
const polygonsOf = (rows: string[]) => maskToPolygons(maskOf(rows), rows.length, rows[0]!.length);

/** Positive: clockwise with y down. */
const signedArea = (ring: Ring) =>
  ring.reduce((sum, [x, y], i) => {
    const [u, v] = ring[(i + 1) % ring.length]!;
    return sum + (x * v - u * y) / 2;
  }, 0);

/** Pixels whose centre lies inside, by the even-odd rule. */
function fill(polygons: Polygon[], height: number, width: number): Uint8Array {
  const mask = new Uint8Array(height * width);
  for (const ring of polygons.flatMap(({ outer, holes }) => [outer, ...holes])) {
    ring.forEach(([x, y], i) => {
      const [u, v] = ring[(i + 1) % ring.length]!;
      if (x !== u) return; // vertical edges flip everything to their right
      for (let row = Math.min(y, v); row < Math.max(y, v); row++) {
        for (let column = x; column < width; column++) mask[row * width + column]! ^= 1;
      }
    });
  }
  return mask;
}

describe('outlines', () => {
  it('of one pixel', () => {
    const outer = [
      [0, 0],
      [1, 0],
      [1, 1],
      [0, 1],
    ];
    expect(polygonsOf(['#'])).toEqual([{ outer, holes: [], area: 1 }]);
  });

  it('of an empty mask and of a mask without pixels', () => {
    expect(polygonsOf(['...', '...'])).toEqual([]);
    expect(maskToPolygons(new Uint8Array(0), 0, 5)).toEqual([]);
  });

  it('of a ring with an island', () => {
    const rows = ['#####', '#...#', '#.#.#', '#...#', '#####'];
    const [ring, island, ...others] = polygonsOf(rows);
    expect(others).toEqual([]);
    expect(ring!.area).toBe(16);
    expect(ring!.holes).toHaveLength(1);
    expect(signedArea(ring!.outer)).toBe(25);
    expect(signedArea(ring!.holes[0]!)).toBe(-9);
    expect(island).toMatchObject({ holes: [], area: 1 });
  });

  it('keep pixels that touch only at a corner apart', () => {
    expect(polygonsOf(['#.', '.#'])).toHaveLength(2);
    expect(polygonsOf(['.#', '#.'])).toHaveLength(2);
    // A hole whose two pixels touch at a corner is one hole, since the mask around it does not pass between them.
    const [only, ...others] = polygonsOf(['####', '#.##', '##.#', '####']);
    expect(others).toEqual([]);
    expect(only!.holes).toHaveLength(1);
    expect(only!.area).toBe(14);
  });

  it('give holes to the polygon around them', () => {
    const rows = ['###.###', '#.#.#.#', '###.###', '.......', '#######', '#.#.#.#', '#######'];
    const polygons = polygonsOf(rows);
    expect(polygons.map(({ holes }) => holes.length)).toEqual([1, 1, 3]);
    expect(polygons.map(({ area }) => area)).toEqual([8, 8, 18]);
  });

  it('fill to the mask again, whatever the mask', () => {
    const anyMask = fc
      .tuple(fc.integer({ min: 1, max: 14 }), fc.integer({ min: 1, max: 14 }), fc.integer({ min: 1, max: 9 }))
      .chain(([height, width, density]) =>
        fc
          .array(fc.nat(9), { minLength: height * width, maxLength: height * width })
          .map((draws) => ({ mask: Uint8Array.from(draws, (n) => Number(n < density)), height, width })),
      );
    fc.assert(
      fc.property(anyMask, ({ mask, height, width }) => {
        const polygons = maskToPolygons(mask, height, width);
        expect(fill(polygons, height, width)).toEqual(mask);
        for (const { outer, holes, area } of polygons) {
          expect(signedArea(outer)).toBeGreaterThan(0);
          for (const hole of holes) expect(signedArea(hole)).toBeLessThan(0);
          expect(area).toBe([outer, ...holes].reduce((sum, ring) => sum + signedArea(ring), 0));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('leave out what is small', () => {
    const rows = ['####.#', '#.##..', '####..'];
    const mask = maskOf(rows);
    expect(maskToPolygons(mask, 3, 6)).toHaveLength(2);
    const [only, ...others] = maskToPolygons(mask, 3, 6, { minArea: 2 });
    expect(others).toEqual([]);
    expect(only).toMatchObject({ area: 11, holes: [] });
  });

  it('say when a mask does not have its size', () => {
    expect(() => maskToPolygons(new Uint8Array(5), 2, 3)).toThrow(
      expect.objectContaining({ name: 'HrsamError', code: 'ERR_SHAPE' }),
    );
  });
});

describe('simplified outlines', () => {
  const radius = 60;
  const side = 2 * radius + 2;
  const disc = Uint8Array.from({ length: side * side }, (_, i) => {
    const [x, y] = [(i % side) - radius - 0.5, Math.floor(i / side) - radius - 0.5];
    return Number(x * x + y * y < radius * radius);
  });
  const distance = ([x, y]: [number, number], ring: Ring) =>
    Math.min(
      ...ring.map(([ax, ay], i) => {
        const [bx, by] = ring[(i + 1) % ring.length]!;
        const [dx, dy] = [bx - ax, by - ay];
        const t = Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / (dx * dx + dy * dy)));
        return Math.hypot(x - ax - t * dx, y - ay - t * dy);
      }),
    );

  it.each([
    [0.75, 3],
    [2, 8],
  ])('stay within %d pixels of the exact ones, with far fewer corners', (tolerance, fewer) => {
    const [exact] = maskToPolygons(disc, side, side);
    const [simple] = maskToPolygons(disc, side, side, { tolerance });
    expect(simple!.outer.length).toBeLessThan(exact!.outer.length / fewer);
    for (const corner of exact!.outer) expect(distance(corner, simple!.outer)).toBeLessThanOrEqual(tolerance);
    expect(simple!.area).toBe(exact!.area);
    expect(Math.abs(signedArea(simple!.outer) / exact!.area - 1)).toBeLessThan(0.05);
  });

  it.each([{ tolerance: -1 }, { tolerance: Number.NaN }, { minArea: '1' }])(
    'are refused with %j',
    (options) => {
      expect(() => maskToPolygons(maskOf(['#']), 1, 1, options as PolygonOptions)).toThrow(
        /expected a number from 0/,
      );
    },
  );

  it('of what is thinner than the tolerance vanish', () => {
    expect(maskToPolygons(maskOf(['#']), 1, 1, { tolerance: 3 })).toEqual([]);
  });

  it('keep a rectangle', () => {
    const ring: Ring = [
      [0, 0],
      [9, 0],
      [9, 5],
      [0, 5],
    ];
    expect(simplifyRing(ring, 1)).toEqual(ring);
  });
});
