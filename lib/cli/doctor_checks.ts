import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, freemem, totalmem } from 'node:os';
import { join } from 'node:path';
import { HRSAM } from '../predictor/hrsam.js';
import { addon, type DeviceInfo, packageRoot } from '../runtime/addon.js';
import { Device } from '../runtime/device.js';

/** What works, with what belongs to it, or why it does not. */
type Finding<T> = ({ ok: true } & T) | { ok: false; reason: string };

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
  cuda: Finding<{ devices: DeviceInfo[] }>;
  sharp: Finding<{ version: string }>;
  selfTest: Finding<{ ms: number }>;
}

async function attempt<T extends object>(check: () => T | Promise<T>): Promise<Finding<T>> {
  try {
    return { ok: true, ...(await check()) };
  } catch (error) {
    return { ok: false, reason: (error as Error).message };
  }
}

export async function examine(): Promise<Examination> {
  const root = packageRoot();
  const { version } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  return {
    version,
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
      // The backend need not know the model of the processor.
      name: cpus()[0]?.model ?? process.arch,
      availableThreads: availableParallelism(),
    })),
    memory: { total: totalmem(), free: freemem() },
    cuda: await attempt(() => ({ devices: Device.list('cuda') })),
    sharp: await attempt(async () => ({ version: (await import('sharp')).default.versions.sharp! })),
    selfTest: await attempt(selfTest),
  };
}

/** glibc's version where there is one: prebuilt binaries need a recent one. */
function libc(): string | undefined {
  const report = process.report?.getReport() as { header?: { glibcVersionRuntime?: string } } | undefined;
  const version = report?.header?.glibcVersionRuntime;
  return version && `glibc ${version}`;
}

/** A small untrained model on the CPU: encodes a square, segments it, and checks that the answer is sound and repeats. */
async function selfTest(): Promise<{ ms: number }> {
  const begin = performance.now();
  using model = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
  const side = 96;
  const data = Uint8Array.from({ length: side * side * 3 }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % side, Math.floor(i / 3 / side)];
    return x > 32 && x < 64 && y > 32 && y < 64 ? 220 : 40;
  });
  const answers: number[][] = [];
  for (let run = 0; run < 2; run++) {
    using image = await model.encode({ data, width: side, height: side, channels: 3 });
    const [mask] = await image.segment({ points: [[48, 48]] });
    answers.push([mask!.score, mask!.area, ...mask!.bbox, ...mask!.rle.counts]);
  }
  const [first, second] = answers as [number[], number[]];
  if (!first.every(Number.isFinite)) throw new Error('the decoder gave values that are not finite');
  if (first.join() !== second.join()) throw new Error('two runs gave different masks');
  return { ms: Math.round(performance.now() - begin) };
}
