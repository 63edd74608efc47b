import { throwIfInterrupted } from './interrupt.js';

/** Nothing is shown for work that ends sooner: a bar that flashes up only disturbs. */
const DELAY_MS = 500;

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
  return {
    update(done, total) {
      throwIfInterrupted();
      if (!shown && performance.now() - begin < DELAY_MS) return;
      if (!shown) bar.start(total, done);
      shown = true;
      bar.update(done);
    },
    end() {
      if (shown) bar.stop();
    },
  };
}

/** Runs work of unknown length, with the seconds so far on stderr if that is a terminal. */
export async function withSpinner<T>(label: string, work: () => Promise<T>): Promise<T> {
  if (!process.stderr.isTTY) return work();
  const begin = performance.now();
  const timer = setInterval(() => {
    process.stderr.write(`\r${label} … ${((performance.now() - begin) / 1000).toFixed(1)} s`);
  }, DELAY_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    process.stderr.write('\r\x1b[K');
  }
}
