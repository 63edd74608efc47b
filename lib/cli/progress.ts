import { throwIfInterrupted } from './interrupt.js';

/** Nothing is shown for work that ends sooner: a bar that flashes up only disturbs. */
const DELAY_MS = 500;
/** Of a terminal that does not say how wide it is. */
const COLUMNS = 80;

/** Takes the bar or line that is shown off the terminal. */
let hide: (() => void) | undefined;

/** Before anything else is written there: the bar or line comes again, below it, with its next update. */
export const hideProgress = (): void => hide?.();

export interface Progress {
  /** Also ends the work after Ctrl-C. @throws HrsamError ERR_ABORTED */
  update(done: number, total: number): void;
  end(): void;
}

/**
 * A bar on stderr for work whose end is in sight; where stderr is no terminal, nothing.
 * @param label what is done, as in `reading weights`
 */
export async function progressBar(label: string): Promise<Progress> {
  if (!process.stderr.isTTY) return { update: throwIfInterrupted, end() {} };
  const { SingleBar, Presets } = (await import('cli-progress')).default;
  const bar = new SingleBar(
    {
      format: `${label} {bar} {percentage} %`,
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
    },
    Presets.shades_grey,
  );
  const begin = performance.now();
  let shown = false;
  // At its end a bar returns to the line that it began on.
  const stop = () => {
    if (shown) bar.stop();
    shown = false;
  };
  return {
    update(done, total) {
      throwIfInterrupted();
      if (!shown && performance.now() - begin < DELAY_MS) return;
      if (!shown) bar.start(total, done);
      shown = true;
      hide = stop;
      bar.update(done);
    },
    end: stop,
  };
}

/**
 * A line on stderr: written over on a terminal, and now and then a line of its own elsewhere.
 * @param pause between two lines elsewhere, ms
 * @param last when there was one; default: now, so that short work has none
 */
export function statusLine(pause: number, last: number = performance.now()) {
  const onTerminal = process.stderr.isTTY;
  const clear = () => {
    process.stderr.write('\r\x1b[K');
  };
  // What wraps stays: only the last of its lines is written over.
  const cut = (line: string) => line.slice(0, (process.stderr.columns || COLUMNS) - 1);
  return {
    show(text: () => string): void {
      if (performance.now() - last < (onTerminal ? 200 : pause)) return;
      last = performance.now();
      if (onTerminal) hide = clear;
      process.stderr.write(onTerminal ? `\r\x1b[K${cut(text())}` : `${text()}\n`);
    },
    end(): void {
      if (onTerminal) clear();
      hide = undefined;
    },
  };
}

/** Runs work of unknown length, with the seconds so far on stderr if that is a terminal. */
export async function withSpinner<T>(label: string, work: () => Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return work();
  const begin = performance.now();
  const line = statusLine(0);
  const seconds = () => `${label} … ${((performance.now() - begin) / 1000).toFixed(1)} s`;
  const timer = setInterval(() => line.show(seconds), DELAY_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    line.end();
  }
}
