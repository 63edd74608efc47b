import { createRequire } from 'node:module';
import { availableParallelism, freemem, totalmem } from 'node:os';
import { addon, type DeviceInfo, packageRoot, packageVersion } from '../runtime/addon.js';
import { Device } from '../runtime/device.js';
import { type DeviceTest, deviceTest, testCpu } from './self_test.js';

/** What works, with what belongs to it, or why it does not. */
export type Finding<T> = ({ ok: true } & T) | { ok: false; reason: string; code?: string };

export interface Examination {
  version: string;
  root: string;
  node: string;
  platform: string;
  libc?: string;
  addon: Finding<{ path: string }>;
  /** Name of the processor; in `detail` the instruction set in use and those available. */
  cpu: Finding<DeviceInfo & { availableThreads: number }>;
  /** Bytes. */
  memory: { total: number; free: number };
  cuda: Finding<{ devices: (DeviceInfo & { selfTest: Finding<DeviceTest> })[] }>;
  sharp: Finding<{ version: string }>;
  selfTest: Finding<{ ms: number }>;
}

async function attempt<T extends object>(check: () => T | Promise<T>): Promise<Finding<T>> {
  try {
    return { ok: true, ...(await check()) };
  } catch (error) {
    const { message, code } = error as Error & { code?: string };
    return { ok: false, reason: message, code };
  }
}

export async function examine(): Promise<Examination> {
  const root = packageRoot();
  return {
    version: packageVersion(),
    root,
    node: process.version,
    platform: `${process.platform}-${process.arch}`,
    libc: libc(),
    addon: await attempt(() => {
      addon();
      return { path: createRequire(import.meta.url)('node-gyp-build').path(root) as string };
    }),
    cpu: await attempt(() => ({
      ...Device.list('cpu')[0]!,
      availableThreads: availableParallelism(),
    })),
    memory: { total: totalmem(), free: freemem() },
    cuda: await attempt(async () => ({ devices: await gpus() })),
    sharp: await attempt(async () => ({ version: (await import('sharp')).default.versions.sharp! })),
    selfTest: await attempt(testCpu),
  };
}

/** glibc's version where there is one: prebuilt binaries need a recent one. */
function libc(): string | undefined {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  const version = report?.header?.glibcVersionRuntime;
  return version && `glibc ${version}`;
}

/** One after the other, so that a test's time is its own. */
async function gpus() {
  const found = [];
  const test = deviceTest();
  for (const [i, gpu] of Device.list('cuda').entries())
    found.push({ ...gpu, selfTest: await attempt(() => test(`cuda:${i}`)) });
  return found;
}
