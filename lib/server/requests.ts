import { z } from 'zod';
import { parse } from '../issues.js';
import { SERVER_LIMITS } from './options.js';

const point = z.tuple([z.number(), z.number()]);
const box = z.tuple([z.number(), z.number(), z.number(), z.number()]);

/** What is asked about a picture; where things are is checked with the picture at hand. */
const SEGMENT = z.strictObject({
  points: z.array(point).max(SERVER_LIMITS.points).optional(),
  labels: z.array(z.number()).max(SERVER_LIMITS.points).optional(),
  box: box.optional(),
  boxes: z.array(box).max(SERVER_LIMITS.boxes).optional(),
  /** The id of an earlier answer, to be refined. */
  mask: z.string().optional(),
  refinements: z.number().optional(),
  minRegion: z.number().optional(),
  multimask: z
    .union([z.boolean(), z.enum(['best', 'auto'])], 'expected true, false, "best" or "auto"')
    .optional(),
  /** Whether answers have outlines, too. */
  polygons: z.boolean().optional(),
});
export type SegmentBody = z.infer<typeof SEGMENT>;

const EVERYTHING = z.strictObject({
  pointsPerSide: z.number().max(SERVER_LIMITS.pointsPerSide).optional(),
  minScore: z.number().optional(),
  minStability: z.number().optional(),
  maxOverlap: z.number().optional(),
  polygons: z.boolean().optional(),
});
export type EverythingBody = z.infer<typeof EVERYTHING>;

const digits = z.string('expected one whole number').regex(/^\d{1,9}$/, 'expected one whole number');
const trueOrFalse = z
  .enum(['true', 'false'], 'expected true or false, once')
  .transform((text) => text === 'true');
const ENCODE = z.strictObject({
  size: digits.transform(Number).optional(),
  coarseToFine: trueOrFalse.optional(),
  zoom: trueOrFalse.optional(),
});
export type EncodeQuery = z.infer<typeof ENCODE>;

/** @throws HrsamError ERR_ARGUMENT */
const read = <T extends z.ZodType>(schema: T, value: unknown, root: string): z.output<T> =>
  parse(schema, value ?? {}, 'ERR_ARGUMENT', { root });

export const segmentBody = (body: unknown): SegmentBody => read(SEGMENT, body, 'body');
export const everythingBody = (body: unknown): EverythingBody => read(EVERYTHING, body, 'body');
export const encodeQuery = (query: unknown): EncodeQuery => read(ENCODE, query, 'query');
