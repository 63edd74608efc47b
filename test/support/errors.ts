import { type ErrorCode, HrsamError } from '../../lib/errors.js';

/** The HrsamError that `run` ends with, thrown or rejected. */
export async function errorOf(run: () => unknown): Promise<HrsamError> {
  try {
    await run();
  } catch (error) {
    if (error instanceof HrsamError) return error;
    throw error;
  }
  throw new Error('expected an HrsamError, but it went well');
}

/** Its code. */
export const codeOf = async (run: () => unknown): Promise<ErrorCode> => (await errorOf(run)).code;
