import { statSync } from 'node:fs';
import { Command, Option } from 'commander';
import { firstOf } from '../errors.js';
import type { ConvertOptions } from '../weights/convert.js';
import { readConfig } from './options.js';
import { checkOutputs, expectSafetensors, formatBytes, print, printJson } from './output.js';
import { progressBar } from './progress.js';

interface ConvertCommandOptions extends Pick<ConvertOptions, 'average' | 'channelOrder' | 'dtype'> {
  config?: string;
  json?: boolean;
}

const HELP = `
The result carries configuration and channel order, so that it loads without options. PyTorch checkpoints are read
without executing anything. HRSAM checkpoints trained with their authors’ loader may expect BGR: --channel-order bgr.

Example:
  $ hrsam convert hrsam.pth hrsam.safetensors --config config.json --channel-order bgr --dtype bf16`;

export function convertCommand(): Command {
  return new Command('convert')
    .description('write weights as one .safetensors file with everything inside')
    .argument('<input>', '.safetensors, .pth or .pt')
    .argument('<output>', '.safetensors')
    .option('--config <json>', "the model's settings, where the weights do not tell them")
    .addOption(
      new Option('--channel-order <order>', 'channels the model was trained on').choices(['rgb', 'bgr']),
    )
    .addOption(new Option('--dtype <type>', 'of linears and convolutions').choices(['f32', 'f16', 'bf16']))
    .option('--average <weights>', 'of the same model: the mean of both is written')
    .option('--json', 'print JSON')
    .addHelpText('after', HELP)
    .action(convertFile);
}

async function convertFile(input: string, output: string, options: ConvertCommandOptions): Promise<void> {
  const { average, channelOrder, dtype, json } = options;
  expectSafetensors(output);
  const config = await readConfig(options);
  await checkOutputs([output], [input, average, options.config]);
  const { convert } = await import('../weights/convert.js');
  const bar = await progressBar('converting');
  const {
    tensors,
    dropped,
    config: stored,
  } = await convert(input, output, {
    config,
    average,
    channelOrder,
    dtype,
    onProgress: ({ bytes, totalBytes }) => bar.update(bytes, totalBytes),
  }).finally(() => bar.end());
  const { size } = statSync(output);
  if (json) {
    printJson({
      input,
      output,
      bytes: size,
      tensors,
      dropped,
      channelOrder: stored.image.channelOrder,
      config: stored,
    });
    return;
  }
  print(`${output}  ${tensors} tensors, ${formatBytes(size)}, ${stored.image.channelOrder}`);
  if (dropped.length > 0) print(`left out, not of the model: ${firstOf(dropped)}`);
}
