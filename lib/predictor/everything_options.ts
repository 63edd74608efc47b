/** Ranges and defaults of what `everything` is asked for. The defaults are those of SAM's automatic masks. */
export const EVERYTHING = {
  pointsPerSide: { least: 1, most: 256, usual: 32 },
  minScore: { least: 0, most: 1, usual: 0.88 },
  minStability: { least: 0, most: 1, usual: 0.95 },
  maxOverlap: { least: 0, most: 1, usual: 0.7 },
} as const;

/** Where `everything` looks and what it keeps; ranges and defaults are in `EVERYTHING`. */
export interface EverythingOptions {
  /** Clicks in each direction of the grid. */
  pointsPerSide?: number;
  /** Least predicted IoU. */
  minScore?: number;
  /** Least stability: see `stabilityScore`. */
  minStability?: number;
  /** Of two masks whose boxes have more than this IoU, the one with the better score stays. */
  maxOverlap?: number;
  signal?: AbortSignal;
  /** Called after each run of the decoder: clicks done, clicks in all. */
  onProgress?: (done: number, total: number) => void;
}
