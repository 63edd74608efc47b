import { execFileSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { packageRoot, packageVersion } from '../../runtime/addon.js';
import { Device } from '../../runtime/device.js';
import type { BenchRow } from './measure.js';

/** What `hrsam bench --json` prints; bench/results keeps such documents, bench/rivals makes them too. */
export interface BenchDocument {
  schema: 1;
  /** Whose rows these are: hrsam and its version. */
  by: string;
  /** What computed. `detail`: driver, or instruction sets; `memory`: bytes. */
  device: { name: string; detail: string; memory: number };
  processor: string;
  /** Of the CPU. */
  threads: number;
  node: string;
  /** Of the sources, `+` after it where they were changed since; absent outside a clone. */
  commit?: string;
  /** Documents of one run on one machine have the same. */
  run?: string;
  /** What else is to be known about the run. */
  note?: string;
  date: string;
  rows: BenchRow[];
}

export const processor = (): string => {
  const { name, detail } = Device.list('cpu')[0]!;
  return `${name}, ${detail}`;
};

/** The rows of a device with all that tells where and when they come from. */
export function benchDocument(device: Device, rows: BenchRow[], threads?: number): BenchDocument {
  const { name, detail, memory } = device.info();
  return {
    schema: 1,
    by: `hrsam ${packageVersion()}`,
    device: { name, detail, memory },
    processor: processor(),
    threads: threads ?? Device.list('cpu')[0]!.threads,
    node: process.version,
    commit: process.env.HRSAM_COMMIT ?? commit(packageRoot()),
    run: process.env.HRSAM_BENCH_RUN,
    note: process.env.HRSAM_BENCH_NOTE,
    date: new Date().toISOString(),
    rows,
  };
}

/** The commit of a clone; figures that it holds are no change of it. */
function commit(root: string): string | undefined {
  const git = (...args: string[]) =>
    execFileSync('git', ['-C', root, ...args], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  try {
    // An installed package may lie inside somebody else's repository.
    if (realpathSync(git('rev-parse', '--show-toplevel')) !== realpathSync(root)) return undefined;
    const changed = git('status', '--porcelain', '--untracked-files=no', '--', '.', ':!bench/results') !== '';
    return `${git('rev-parse', 'HEAD')}${changed ? '+' : ''}`;
  } catch {
    return undefined;
  }
}
