import { z } from 'zod';
import { HrsamError } from '../errors.js';
import { describeIssues } from '../issues.js';
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
  multimask: z.union([z.boolean(), z.enum(['best', 'auto'])]).optional(),
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

const digits = z.string('once, as a whole number').regex(/^\d{1,9}$/, 'a whole number');
const ENCODE = z.strictObject({
  size: digits.transform(Number).optional(),
  coarseToFine: z
    .enum(['true', 'false'], 'once, true or false')
    .transform((text) => text === 'true')
    .optional(),
});
export type EncodeQuery = z.infer<typeof ENCODE>;

/** @throws HrsamError ERR_ARGUMENT */
function parse<T>(schema: z.ZodType<T>, value: unknown, where: string): T {
  const { success, data, error } = schema.safeParse(value ?? {});
  if (success) return data;
  throw new HrsamError('ERR_ARGUMENT', describeIssues(error, where));
}

export const segmentBody = (body: unknown): SegmentBody => parse(SEGMENT, body, 'body');
export const everythingBody = (body: unknown): EverythingBody => parse(EVERYTHING, body, 'body');
export const encodeQuery = (query: unknown): EncodeQuery => parse(ENCODE, query, 'query');
