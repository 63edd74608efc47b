import { type ChildProcessByStdio, spawn } from 'node:child_process';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pathToFileURL } from 'node:url';
import { root } from './files.js';

export interface ChildResult {
  /** Exit code; null when a signal ended it. */
  code: number | null;
  signal: NodeJS.Signals | null;
  stdout: string;
  stderr: string;
}

export interface ChildOptions {
  env?: NodeJS.ProcessEnv;
  /** Of Node. */
  flags?: readonly string[];
  /** Put in front of Node's command line, as `prlimit --as=…`. */
  wrapper?: readonly string[];
}

let built: Promise<void> | undefined;

/** dist/ as it belongs to the sources, once per test file. */
export const buildDist = (): Promise<void> => {
  built ??= import(pathToFileURL(join(root, 'scripts/setup.mjs')).href).then(({ setupDist }) => setupDist());
  return built;
};

async function lowered(source: string): Promise<string> {
  const { default: ts } = await import('typescript');
  return ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  }).outputText;
}

/** What a process prints until it ends. */
export function collect(child: ChildProcessByStdio<null, Readable, Readable>): Promise<ChildResult> {
  const result: ChildResult = { code: null, signal: null, stdout: '', stderr: '' };
  for (const stream of ['stdout', 'stderr'] as const)
    child[stream].setEncoding('utf8').on('data', (text: string) => {
      result[stream] += text;
    });
  return new Promise((resolve, reject) => {
    child.on('error', reject).on('close', (code, signal) => resolve({ ...result, code, signal }));
  });
}

/**
 * Runs an ES module in a process of its own, in the repository's root: `import … from 'hrsam'` is the package as users
 * get it, built when it is out of date. May contain `using`, which Node 20 does not know.
 */
export async function runModule(source: string, options: ChildOptions = {}): Promise<ChildResult> {
  await buildDist();
  const { env, flags = [], wrapper = [] } = options;
  const command = [
    ...wrapper,
    process.execPath,
    ...flags,
    '--input-type=module',
    '--eval',
    await lowered(source),
  ];
  const child = spawn(command[0]!, command.slice(1), {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  return collect(child);
}
