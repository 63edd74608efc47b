/** A closed line of corners [x, y]; the last is joined to the first. */
export type Ring = [number, number][];

/** The steps of a slanted outline are 0.71 pixels deep: with this tolerance they become a line. */
export const STEPS = 0.75;

/**
 * A ring of some of the corners, from which no other corner is further than `tolerance` (Douglas and Peucker 1973).
 * The first corner and the one furthest from it stay. What is left may have fewer than three corners, when the whole
 * ring is thinner than the tolerance.
 */
export function simplifyRing(ring: Ring, tolerance: number): Ring {
  if (ring.length < 4) return ring;
  const keep = new Uint8Array(ring.length);
  const limit = tolerance * tolerance;
  const opposite = furthest(
    ring,
    0,
    ring.length,
    ([x, y]) => (x - ring[0]![0]) ** 2 + (y - ring[0]![1]) ** 2,
  );
  keep[0] = 1;
  keep[opposite.index] = opposite.distance > limit ? 1 : 0;
  const pending: [number, number][] = [
    [0, opposite.index],
    [opposite.index, ring.length],
  ];
  for (let span = pending.pop(); span !== undefined; span = pending.pop()) {
    const [begin, end] = span;
    const middle = furthest(ring, begin + 1, end, squaredDistance(ring[begin]!, ring[end % ring.length]!));
    if (middle.distance <= limit) continue;
    keep[middle.index] = 1;
    pending.push([begin, middle.index], [middle.index, end]);
  }
  return ring.filter((_, i) => keep[i] === 1);
}

function furthest(ring: Ring, begin: number, end: number, measure: (corner: [number, number]) => number) {
  let index = begin;
  let distance = -1;
  for (let i = begin; i < end; i++) {
    const d = measure(ring[i]!);
    if (d <= distance) continue;
    distance = d;
    index = i;
  }
  return { index, distance };
}

/** To the segment from a to b. */
function squaredDistance([ax, ay]: [number, number], [bx, by]: [number, number]) {
  const [dx, dy] = [bx - ax, by - ay];
  const length = dx * dx + dy * dy;
  return ([x, y]: [number, number]) => {
    const t = length === 0 ? 0 : Math.min(1, Math.max(0, ((x - ax) * dx + (y - ay) * dy) / length));
    return (x - ax - t * dx) ** 2 + (y - ay - t * dy) ** 2;
  };
}
