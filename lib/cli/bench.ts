import { Command, InvalidArgumentError, Option } from 'commander';
import type { Precision } from '../model/layers.js';
import { addDeviceOptions, addWeightsOptions, type ModelOptions, wholeNumber } from './options.js';

export const BENCH_GROUPS = ['gemm', 'attention', 'scan', 'memory', 'call', 'encoder', 'train'] as const;
export type BenchGroup = (typeof BENCH_GROUPS)[number];

export interface BenchOptions extends Omit<ModelOptions, 'dtype'> {
  dtype?: Precision;
  only: readonly BenchGroup[];
  size?: number;
  batch?: number;
  full?: boolean;
  json?: boolean;
  output?: string;
  part?: string;
}

const HELP = `
Without --dtype f32 and bf16 are measured; fp8 is for encoders, its share that of bf16's peak. The peak is measured in
the same run, before and after every timing, as multiply-adds that wait for nothing; share is a run's rate by the peak
around it, in the group memory by the GB/s of a sum of two large tensors. GFLOP/s count only what the result needs, of a
training step three times the forward pass. On a GPU an op is run many times in one program, on inputs that take turns
so that its cache does not help; an encoder is timed from the call to the promise's end, like a user's. Above a model's
own size pictures and clicks are measured without and with coarse to fine, where the model is made for it, as the one
included is. Each group of ops, each encoder and each trained model runs in a process of its own; its peak memory is
that process's, weights included: resident or, on a GPU, there. The JSON tells the commit (of the clone, or in
HRSAM_COMMIT), and in run and note what HRSAM_BENCH_RUN and HRSAM_BENCH_NOTE hold. With -o, a run of several commands
(--only …) makes one document; encoders and training that it has measured before it was stopped are left as they are.

Examples:
  $ hrsam bench
  $ hrsam bench --only encoder --full --dtype bf16 --json
  $ hrsam bench --only encoder -w hrsam-b.safetensors --size 2048`;

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
    .option('--size <pixels>', 'side of the encoders’ images (default: 1024)', wholeNumber(16))
    .option('--batch <n>', 'images per run of an encoder (default: 1)', wholeNumber(1))
    .option(
      '--full',
      'encoders also at half, twice and four times the size, SAM’s at 1024; on a GPU batches of 1, 4, 16',
    )
    .option('--json', 'print rows as JSON')
    .option(
      '-o, --output <json>',
      'write the JSON to a file, after each part; rows of the same run stay there',
    )
    .addOption(command.createOption('--part <json>', 'one part, in this process').hideHelp())
    .addHelpText('after', HELP)
    .action(async (options: BenchOptions) => {
      if (options.part) await (await import('./bench/parts.js')).runPart(options.part);
      else await (await import('./bench/run.js')).runBench(options);
    });
}
