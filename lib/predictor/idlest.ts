/** Of several that share work, the one with the least of it, the first of equals. */
export const idlest = <T>(loads: ReadonlyMap<T, number>): T =>
  [...loads].reduce((least, each) => (each[1] < least[1] ? each : least))[0];
