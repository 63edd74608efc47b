/** Ranges and defaults of what `everything` is asked for. The defaults are those of SAM's automatic masks. */
export const EVERYTHING = {
  pointsPerSide: { min: 1, max: 256, default: 32 },
  minScore: { min: 0, max: 1, default: 0.88 },
  minStability: { min: 0, max: 1, default: 0.95 },
  maxOverlap: { min: 0, max: 1, default: 0.7 },
} as const;

/** Where `everything` looks and what it keeps; ranges and defaults are in `EVERYTHING`. */
export interface EverythingOptions {
  /** Clicks in each direction of the grid, 1 to 256. Default 32. */
  pointsPerSide?: number;
  /** Least predicted IoU, 0 to 1. Default 0.88. */
  minScore?: number;
  /** Least stability, 0 to 1: see `stabilityScore`. Default 0.95. */
  minStability?: number;
  /** Of two masks whose boxes have more than this IoU, the one with the better score stays. 0 to 1. Default 0.7. */
  maxOverlap?: number;
  /** Ends the work with ERR_ABORTED while it is queued or between two layers. */
  signal?: AbortSignal;
  /** Called after each run of the decoder: clicks done, clicks in all. */
  onProgress?: (done: number, total: number) => void;
}
