import { dirname } from 'node:path';
import { Command } from 'commander';
import type { TensorToWrite } from '../weights/safetensors_writer.js';
import type { Decoded } from './decode_batch.js';
import { throwIfInterrupted } from './interrupt.js';
import { describeModel, loadModel, Stopwatch } from './model.js';
import { addModelOptions, type ModelOptions } from './options.js';
import { checkOutputs, expectSafetensors, formatMs, print, printJson } from './output.js';
import { progressBar } from './progress.js';

interface DecodeOptions extends ModelOptions {
  prompts: string;
  output: string;
  json?: boolean;
}

const HELP = `
The prompts are a JSON list of batches: {"name", "points" (b, n, 2) in pixels of the model's input, "labels" (b, n),
"boxes" (b, 4), "mask_logits"}, each but the name optional or null. Labels: 1 object, 0 background, -1 not a point; any
other keeps the bare position code. "mask_logits" is {"from_prompt", "mask_index"} for an earlier result, {"file",
"tensor"} for a tensor (b, 1, h, w) of a safetensors file (beside the list or in the current folder), or {"name",
"shape", "offset", "scale"} for generated values. One embedding serves a batch of any size. The output holds, for each
batch, <name>/masks (b, 4, 4h, 4w) and <name>/ious (b, 4): raw logits and predicted IoUs, F32.

Example:
  $ hrsam decode photo.safetensors -w hrsam-b.safetensors --prompts prompts.json -o masks.safetensors`;

export function decodeCommand(): Command {
  const command = new Command('decode')
    .description('run the mask decoder on a kept embedding')
    .argument('<embedding>', '.safetensors as written by embed')
    .requiredOption('--prompts <json>', 'list of prompts')
    .requiredOption('-o, --output <safetensors>', 'where logits and predicted IoUs go')
    .option('--json', 'print shapes, predicted IoUs and times as JSON');
  return addModelOptions(command).addHelpText('after', HELP).action(decode);
}

async function decode(path: string, options: DecodeOptions): Promise<void> {
  expectSafetensors(options.output);
  const { maskFiles, readPrompts } = await import('./prompts_file.js');
  const { checkEmbedding, decodeBatch } = await import('./decode_batch.js');
  const { readEmbedding } = await import('../predictor/embedding_file.js');
  const { writeSafetensors } = await import('../weights/safetensors_writer.js');
  const prompts = await readPrompts(options.prompts);
  const { weights, config } = options;
  const masks = maskFiles(prompts, dirname(options.prompts));
  await checkOutputs([options.output], [path, options.prompts, weights, config, ...masks]);
  const watch = new Stopwatch();
  using model = await watch.time('load', () => loadModel(options));
  const { embedding, coarse, model: made } = await readEmbedding(path, model.device);
  using kept = embedding;
  // This command is about one run of the decoder, at full size.
  coarse?.dispose();
  checkEmbedding(kept, model.config, path);
  await model.network.checkFingerprint(made, path);
  const results = new Map<string, Decoded>();
  await watch.time('decode', async () => {
    const bar = await progressBar('decoding');
    try {
      for (const [i, prompt] of prompts.entries()) {
        throwIfInterrupted();
        bar.update(i, prompts.length);
        results.set(prompt.name, await decodeBatch(model.network, kept, prompt, results, options.prompts));
      }
    } finally {
      bar.end();
    }
  });
  const tensors: TensorToWrite[] = [...results].flatMap(([name, { shape, masks, ious }]) => [
    { name: `${name}/masks`, dtype: 'F32', shape, data: masks },
    { name: `${name}/ious`, dtype: 'F32', shape: shape.slice(0, 2), data: ious },
  ]);
  await writeSafetensors(options.output, tensors);
  const rows = [...results].map(([name, { shape, ious }]) => ({ name, masks: shape, ious: [...ious] }));
  if (options.json) {
    printJson({ output: options.output, prompts: rows, model: describeModel(model, options), ms: watch.ms });
  } else {
    for (const { name, masks } of rows) print(`${name}/masks (${masks.join(', ')})`);
    print(
      `${options.output}  ${rows.length} ${rows.length === 1 ? 'prompt' : 'prompts'} in ${formatMs(watch.ms.decode!)} on ${model.device.name}`,
    );
  }
}
