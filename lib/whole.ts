/** Whether it is a whole number from `least` on, and exact. */
export const isWhole = (value: unknown, least: number): value is number =>
  Number.isSafeInteger(value) && (value as number) >= least;
