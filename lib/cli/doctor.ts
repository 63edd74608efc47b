import { Command } from 'commander';
import { formatBytes, print, printJson } from './output.js';

const HELP = `
Exit code 0 when the CPU works, whatever else is missing.

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
  if (!found.selfTest.ok) process.exitCode = 1;
  if (json) {
    printJson(found);
    return;
  }
  const { addon, cpu, cuda, selfTest, memory } = found;
  const lines: [string, string][] = [
    ['package', `hrsam ${found.version} in ${found.root}`],
    ['node', `${found.node}, ${found.platform}${found.libc ? `, ${found.libc}` : ''}`],
    ['addon', addon.ok ? `${addon.path}` : `not found: ${addon.reason}`],
    ['cpu', cpu.ok ? `${cpu.name}, ${cpu.threads} threads, ${cpu.detail}` : `not usable: ${cpu.reason}`],
    ['memory', `${formatBytes(memory.total)}, ${formatBytes(memory.free)} free`],
    ...(cuda.ok
      ? cuda.devices.map((gpu, i): [string, string] => [
          `cuda:${i}`,
          `${gpu.name}, ${formatBytes(gpu.memory)}, ${gpu.detail}`,
        ])
      : [['cuda', `not usable: ${cuda.reason}`] satisfies [string, string]]),
    ['pictures', found.sharp.ok ? `sharp ${found.sharp.version}` : `not readable: ${found.sharp.reason}`],
    ['self-test', selfTest.ok ? `passed in ${selfTest.ms} ms` : `failed: ${selfTest.reason}`],
  ];
  if (process.env.HRSAM_CPU_ISA)
    lines.splice(4, 0, ['', `HRSAM_CPU_ISA=${process.env.HRSAM_CPU_ISA} is set`]);
  for (const [label, text] of lines) print(`${label.padEnd(10)} ${text}`);
}
