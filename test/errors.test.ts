import { expect, it } from 'vitest';
import { HrsamError } from '../lib/errors.js';

it('an error has the fields that tell something, and no others', () => {
  expect(Object.keys(new HrsamError('ERR_DISPOSED', 'the model was disposed'))).toEqual(['name', 'code']);
  const full = new HrsamError('ERR_ARGUMENT', 'size', { where: 'encode', expected: 16, actual: 0 });
  expect(full).toMatchObject({ where: 'encode', expected: 16, actual: 0 });
  expect(full.message).toBe('encode: size; expected 16; got 0');
});
