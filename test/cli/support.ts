import { type ChildProcess, spawn } from 'node:child_process';
import { join } from 'node:path';
import { randomWeights } from '../../lib/weights/checkpoint.js';
import { configToMetadata, type ModelConfig } from '../../lib/weights/config.js';
import { type TensorToWrite, writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { buildDist, type ChildResult, collect } from '../support/child.js';
import { root } from '../support/files.js';

/** The CLI as a user runs it: a process of its own. `null` as code: ended by a signal. */
export async function hrsam(
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string; started?(child: ChildProcess): void } = {},
): Promise<ChildResult> {
  await buildDist();
  const child = spawn(process.execPath, [join(root, 'dist/hrsam.cjs'), ...args], {
    cwd: options.cwd,
    env: { ...process.env, ...options.env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  options.started?.(child);
  return collect(child);
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
