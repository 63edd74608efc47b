import { Command } from 'commander';
import type { Finding } from './doctor_checks.js';
import { formatBytes, print, printJson } from './output.js';
import type { DeviceTest } from './self_test.js';

const HELP = `
Each GPU is tried beside the CPU. Exit code 0 when the CPU and all GPUs found work, whatever is missing.

Example:
  $ hrsam doctor`;

export function doctorCommand(): Command {
  return new Command('doctor')
    .description('show what was found, what not and why, and try it')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(doctor);
}

async function doctor({ json }: { json?: boolean }): Promise<void> {
  const { examine } = await import('./doctor_checks.js');
  const found = await examine();
  const { addon, cpu, cuda, selfTest, memory } = found;
  const gpus = cuda.ok ? cuda.devices : [];
  if (!selfTest.ok || gpus.some((gpu) => !gpu.selfTest.ok)) process.exitCode = 1;
  if (json) {
    printJson(found);
    return;
  }
  const lines: [string, string][] = [
    ['package', `hrsam ${found.version} in ${found.root}`],
    ['node', `${found.node}, ${found.platform}${found.libc ? `, ${found.libc}` : ''}`],
    ['addon', addon.ok ? `${addon.path}` : `not found: ${addon.reason}`],
    ['cpu', cpu.ok ? `${cpu.name}, ${cpu.threads} threads, ${cpu.detail}` : `not usable: ${cpu.reason}`],
    ['memory', `${formatBytes(memory.total)}, ${formatBytes(memory.free)} free`],
    ...gpus.flatMap((gpu, i): [string, string][] => [
      [`cuda:${i}`, `${gpu.name}, ${formatBytes(gpu.memory)}, ${gpu.detail}`],
      ['', gpuTest(gpu.selfTest)],
    ]),
    ...(cuda.ok ? [] : [['cuda', `not usable: ${cuda.reason}`] satisfies [string, string]]),
    ['pictures', found.sharp.ok ? `sharp ${found.sharp.version}` : `not readable: ${found.sharp.reason}`],
    ['self-test', selfTest.ok ? `passed in ${selfTest.ms} ms` : `failed: ${selfTest.reason}`],
  ];
  if (process.env.HRSAM_CPU_ISA)
    lines.splice(4, 0, ['', `HRSAM_CPU_ISA=${process.env.HRSAM_CPU_ISA} is set`]);
  for (const [label, text] of lines) print(`${label.padEnd(10)} ${text}`);
}

/** Errors of the environment, not of the backend. */
const EXPLAINED: ReadonlySet<string> = new Set(['ERR_ARGUMENT', 'ERR_DEVICE', 'ERR_OUT_OF_MEMORY']);

function gpuTest(test: Finding<DeviceTest>): string {
  if (!test.ok) {
    const advice = 'HRSAM_CUDA_WGMMA=0, HRSAM_CUDA_PDL=0 or HRSAM_CUDA_GRAPHS=0 may help';
    return `self-test failed: ${test.reason}${EXPLAINED.has(test.code ?? '') ? '' : `; ${advice}`}`;
  }
  const { f32, bf16, ms } = test;
  return `self-test passed in ${ms} ms: f32 ${f32.toExponential(0)}, bf16 ${bf16.toExponential(0)} apart from the CPU's f32`;
}
