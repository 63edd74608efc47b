import { expect } from 'vitest';
import { HrsamError } from '../../../lib/errors.js';

/** The HrsamError that a promise ends in; anything else fails the test. */
export const rejection = async (promise: Promise<unknown>): Promise<HrsamError> => {
  const error = await promise.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error, 'an HrsamError').toBeInstanceOf(HrsamError);
  return error as HrsamError;
};

/** How often random tests try; set HRSAM_FUZZ_RUNS for longer runs. */
export const fuzzRuns = (usual: number): number => Number(process.env.HRSAM_FUZZ_RUNS ?? usual);
