import type { z } from 'zod';

const MAX_ISSUES = 8;

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
  const more = lines.length > MAX_ISSUES ? `; and ${lines.length - MAX_ISSUES} more` : '';
  return lines.slice(0, MAX_ISSUES).join('; ') + more;
};
