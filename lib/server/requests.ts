import { z } from 'zod';
import { HrsamError } from '../errors.js';
import { describeIssues } from '../issues.js';

const point = z.tuple([z.number(), z.number()]);
const box = z.tuple([z.number(), z.number(), z.number(), z.number()]);

/** Of a request: each one's logits are kept until all are answered. */
const MOST_BOXES = 256;

/** Of a prompt: each looks at all others, so that time grows with their square. */
const MOST_POINTS = 1024;

/** Masks of everything: each may have thousands of corners. */
export const MOST_FOUND = 1000;

/** What is asked about a picture; where things are is checked with the picture at hand. */
const SEGMENT = z.strictObject({
  points: z.array(point).max(MOST_POINTS).optional(),
  labels: z.array(z.number()).max(MOST_POINTS).optional(),
  box: box.optional(),
  boxes: z.array(box).max(MOST_BOXES).optional(),
  /** The id of an earlier answer, to be refined. */
  mask: z.string().optional(),
  refinements: z.number().optional(),
  multimask: z.union([z.boolean(), z.enum(['best', 'auto'])]).optional(),
  /** Whether answers have outlines, too. */
  polygons: z.boolean().optional(),
});
export type SegmentBody = z.infer<typeof SEGMENT>;

const EVERYTHING = z.strictObject({
  // A picture of 64 × 64 clicks takes as long as 4096 requests.
  pointsPerSide: z.number().max(64).optional(),
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
