// Steps of the experiment, each a run of the command line that is skipped once its output is there.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** Ctrl-C: the command under way saves and ends, the experiment goes on when it is started again. */
export class Stopped extends Error {}

let stopped = false;
let running;

/** From now on a signal ends the experiment after the command under way, which gets it as well. */
export function catchSignals() {
  // From a terminal, Ctrl-C reaches the command by itself.
  process.on('SIGINT', () => {
    stopped = true;
  });
  process.on('SIGTERM', () => {
    stopped = true;
    running?.kill('SIGINT');
  });
}

/** Runs the command line. @returns what it printed @throws when it fails, `Stopped` after Ctrl-C */
export async function hrsam(cli, args) {
  const child = spawn(process.execPath, [cli, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
  running = child;
  const printed = [];
  child.stdout.on('data', (chunk) => printed.push(chunk));
  const code = await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', resolve);
  });
  if (stopped) throw new Stopped();
  if (code !== 0) throw new Error(`hrsam ${args.join(' ')}: exit code ${code}`);
  return Buffer.concat(printed).toString();
}

/** Writes JSON under its name only once it is complete. */
export function writeJson(path, value) {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(`${path}.part`, `${JSON.stringify(value, null, 2)}\n`);
  renameSync(`${path}.part`, path);
}

export const readJson = (path) => JSON.parse(readFileSync(path, 'utf8'));

/** The JSON at `path`, which `make` gives if it is not there. */
export async function once(path, what, make) {
  if (existsSync(path)) return readJson(path);
  const begin = performance.now();
  process.stderr.write(`claim: ${what} …\n`);
  const value = await make();
  writeJson(path, value);
  process.stderr.write(`claim: ${what}: ${((performance.now() - begin) / 1000).toFixed(0)} s\n`);
  return value;
}

const lastStep = (folder) => {
  const lines = readFileSync(join(folder, 'log.jsonl'), 'utf8').trim().split('\n');
  return JSON.parse(lines.at(-1));
};

/**
 * Trains into a folder, from where it was interrupted.
 * @param data arguments that beginning and going on have in common
 * @returns the model's path
 */
export async function trained(cli, folder, what, recipe, data, init) {
  await once(join(folder, 'done.json'), `${what}, ${recipe.steps} steps`, async () => {
    const command = ['train', recipe.task, '--out', folder, ...data];
    if (existsSync(join(folder, 'checkpoint.safetensors'))) await hrsam(cli, [...command, '--resume']);
    else {
      const config = join(folder, 'recipe.json');
      writeJson(config, recipe);
      const start = init === undefined ? [] : ['--init', init];
      await hrsam(cli, [...command, '--config', config, ...start]);
    }
    const last = lastStep(folder);
    // A training that a signal ends saves and says so, which is no failure of the command.
    if (last.step < recipe.steps) throw new Stopped();
    return last;
  });
  return join(folder, 'model.safetensors');
}
