import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import ts from 'typescript';

export const root = fileURLToPath(new URL('../..', import.meta.url));

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

const lowered = (source: string): string =>
  ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2022, module: ts.ModuleKind.ESNext },
  }).outputText;

/**
 * Runs an ES module in a process of its own, in the repository's root: `import … from 'hrsam'` is the package as users
 * get it, built when it is out of date. May contain `using`, which Node 20 does not know.
 */
export async function runModule(source: string, options: ChildOptions = {}): Promise<ChildResult> {
  const { setupDist } = await import(pathToFileURL(join(root, 'scripts/setup.mjs')).href);
  setupDist();
  const { env, flags = [], wrapper = [] } = options;
  const command = [...wrapper, process.execPath, ...flags, '--input-type=module', '--eval', lowered(source)];
  const child = spawn(command[0]!, command.slice(1), {
    cwd: root,
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const result: ChildResult = { code: null, signal: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    result.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    result.stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject).on('close', (code, signal) => resolve({ ...result, code, signal }));
  });
}
