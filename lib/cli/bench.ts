import { Command, InvalidArgumentError, Option } from 'commander';
import { addDeviceOptions, addWeightsOptions, type ModelOptions, wholeNumber } from './options.js';

export const BENCH_GROUPS = ['gemm', 'attention', 'scan', 'encoder', 'train'] as const;
export type BenchGroup = (typeof BENCH_GROUPS)[number];

export interface BenchOptions extends Omit<ModelOptions, 'dtype'> {
  dtype?: 'f32' | 'bf16';
  only: readonly BenchGroup[];
  size: number;
  batch: number;
  full?: boolean;
  json?: boolean;
  part?: string;
}

const HELP = `
Without --dtype both types are measured. The peak is measured in the same run, before and after every timing, as multiply-adds that wait for nothing; share is a
run's rate by the peak around it. GFLOP/s count only what the result needs, of a training step three times the forward
pass. Each group of ops, each encoder and each trained model runs in a process of its own; its peak memory is that process's, weights included.

Examples:
  $ hrsam bench
  $ hrsam bench --only encoder --full --dtype bf16 --json`;

function groups(text: string): BenchGroup[] {
  const named = text.split(',');
  for (const name of named) {
    if (!(BENCH_GROUPS as readonly string[]).includes(name))
      throw new InvalidArgumentError(`Expected some of ${BENCH_GROUPS.join(',')}.`);
  }
  return named as BenchGroup[];
}

export function benchCommand(): Command {
  const command = new Command('bench')
    .description('measure ops, encoders and training against the machine’s own peak')
    .addOption(
      new Option('--only <groups>', `some of ${BENCH_GROUPS.join(',')}`)
        .argParser(groups)
        .default(BENCH_GROUPS, 'all'),
    );
  return addDeviceOptions(addWeightsOptions(command))
    .option('--size <pixels>', 'side of the encoders’ images', wholeNumber(16), 1024)
    .option('--batch <n>', 'images per run of an encoder', wholeNumber(1), 1)
    .option('--full', 'encoders also at twice and four times the size')
    .option('--json', 'print rows as JSON')
    .addOption(command.createOption('--part <json>', 'one part, in this process').hideHelp())
    .addHelpText('after', HELP)
    .action(async (options: BenchOptions) => {
      if (options.part) await (await import('./bench/parts.js')).runPart(options.part);
      else await (await import('./bench/run.js')).runBench(options);
    });
}
