import { HrsamError } from './errors.js';

/** All options there are by name: the compiler sees to it that none is missing. Errors name no internal ones. */
type Names<T> = { readonly [name in keyof Required<T>]: true | 'internal' };

/** @throws HrsamError ERR_ARGUMENT for what is neither a function nor absent */
export function checkCallback(callback: unknown, name: string): void {
  if (callback !== undefined && typeof callback !== 'function')
    throw new HrsamError('ERR_ARGUMENT', name, { expected: 'a function', actual: callback });
}

/**
 * Options as a caller without a compiler may give them.
 * @returns checks that a value is an object with no other fields than these
 */
export const optionsOf =
  <T extends object>(names: Names<T>) =>
  /** @throws HrsamError ERR_ARGUMENT */
  (options: T, where: string): void => {
    const isObject = typeof options === 'object' && options !== null && !Array.isArray(options);
    const unknown = isObject ? Object.keys(options).find((name) => !Object.hasOwn(names, name)) : options;
    if (isObject && unknown === undefined) return;
    throw new HrsamError('ERR_ARGUMENT', isObject ? 'an unknown option' : 'options', {
      where,
      expected: Object.keys(names)
        .filter((name) => names[name as keyof T] === true)
        .join(', '),
      actual: unknown,
    });
  };
