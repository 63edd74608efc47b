import { constants } from 'node:os';
import { HrsamError } from '../errors.js';

const controller = new AbortController();
const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/** Aborted by Ctrl-C and the like: what is queued is cancelled, half-written files and child processes are removed. */
export const interruption = (): AbortSignal => controller.signal;

/** For work that takes no signal but reports its progress. @throws HrsamError ERR_ABORTED */
export function throwIfInterrupted(): void {
  if (controller.signal.aborted) throw new HrsamError('ERR_ABORTED', 'interrupted');
}

/** The exit code of a process that a signal ended, as shells have it: 130 after Ctrl-C. */
export const interruptedExitCode = (): number =>
  128 + constants.signals[controller.signal.reason as 'SIGINT'];

/** The first signal cancels what is under way; the second ends the process at once. */
export function catchSignals(): void {
  for (const signal of SIGNALS) {
    process.on(signal, () => {
      if (controller.signal.aborted) process.exit(interruptedExitCode());
      controller.abort(signal);
    });
  }
}
