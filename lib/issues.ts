import type { z } from 'zod';
import { firstOf } from './errors.js';

/**
 * Lines like `encoder.depth: …` for what a schema found wrong.
 * @param root what the value itself is called, before the names of its fields
 */
export const describeIssues = (error: z.ZodError, root?: string): string => {
  const lines = error.issues.map(({ path, message }) => {
    const at = root === undefined ? path : [root, ...path];
    const what = message.endsWith('received undefined') ? 'is missing' : message;
    return `${at.length ? at.join('.') : 'it'}: ${what}`;
  });
  return firstOf(lines, 8, '; ');
};
