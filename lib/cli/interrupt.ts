import { HrsamError } from '../errors.js';

const controller = new AbortController();

/** Aborted by Ctrl-C: what is queued is cancelled, half-written files are removed. */
export const interruption = (): AbortSignal => controller.signal;

/** For work that takes no signal but reports its progress. @throws HrsamError ERR_ABORTED */
export function throwIfInterrupted(): void {
  if (controller.signal.aborted) throw new HrsamError('ERR_ABORTED', 'interrupted');
}

/** The first Ctrl-C cancels; the second calls `leave` at once. */
export function onInterrupt(leave: () => void): void {
  process.on('SIGINT', () => {
    if (controller.signal.aborted) leave();
    controller.abort();
  });
}
