import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

const POLL_MS = 200;

const sleep = (ms) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

/** Whether the process that made the lock is gone. */
function isAbandoned(owner) {
  let pid;
  try {
    pid = Number(readFileSync(owner, 'utf8'));
  } catch {
    return false; // just being made, or just removed
  }
  try {
    process.kill(pid, 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}

/** Runs `work` in one process at a time; a folder is the lock, and names its owner. */
export function withLock(folder, work) {
  const owner = join(folder, 'pid');
  for (;;) {
    try {
      mkdirSync(folder);
      break;
    } catch (error) {
      if (error.code !== 'EEXIST') throw error;
      if (isAbandoned(owner)) rmSync(folder, { recursive: true, force: true });
      else sleep(POLL_MS);
    }
  }
  const release = () => rmSync(folder, { recursive: true, force: true });
  // A failed step ends the process.
  process.once('exit', release);
  writeFileSync(owner, String(process.pid));
  try {
    work();
  } finally {
    process.removeListener('exit', release);
    release();
  }
}
