/** What stands before a preset's name where its random values are asked for in place of a file. */
const RANDOM = 'random:';

export const randomName = (preset: string): string => RANDOM + preset;

/** The preset of a name like `random:hrsam-b`; nothing for a path. */
export const randomPreset = (weights: string): string | undefined =>
  weights.startsWith(RANDOM) ? weights.slice(RANDOM.length) : undefined;
