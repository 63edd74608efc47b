import { HrsamError } from '../errors.js';

/** (height, width) of a token grid. */
export type Grid = readonly [number, number];

export const gridTokens = (grids: readonly Grid[]): number => grids.reduce((sum, [h, w]) => sum + h * w, 0);

/** Pairs of tokens that see each other where each grid attends to itself alone. */
export const gridSquares = (grids: readonly Grid[]): number =>
  grids.reduce((sum, [h, w]) => sum + (h * w) ** 2, 0);

/** One list of all sides. @throws HrsamError ERR_ARGUMENT for what is no list of pairs */
export function gridSides(grids: readonly Grid[], where: string): number[] {
  if (Array.isArray(grids) && grids.every((grid) => Array.isArray(grid) && grid.length === 2))
    return grids.flat();
  throw new HrsamError('ERR_ARGUMENT', 'grids', {
    where,
    expected: 'a list of [height, width]',
    actual: grids,
  });
}

/** Its inverse: the grids of an op's attribute. */
export const gridsOf = (sides: unknown): Grid[] => {
  const flat = sides as readonly number[];
  return Array.from({ length: Math.ceil(flat.length / 2) }, (_, i) => [flat[2 * i]!, flat[2 * i + 1]!]);
};
