import { stat } from 'node:fs/promises';
import { Command } from 'commander';
import type { HRSAM } from '../predictor/hrsam.js';
import type { Tensor } from '../runtime/tensor.js';
import type { EmbedFolderOptions } from './embed_folder.js';
import { interruption } from './interrupt.js';
import { describeModel, loadModel, Stopwatch } from './model.js';
import { addModelOptions, coarseOption, sizeOption } from './options.js';
import { checkOutputs, expectSafetensors, formatMs, print, printJson } from './output.js';
import { withSpinner } from './progress.js';
import { usageError } from './usage.js';

interface EmbedOptions extends EmbedFolderOptions {
  coarse: boolean;
}

const HELP = `
A .safetensors input holds the tensor image (b, 3, H, W), F32, already normalised, H and W multiples of the patch (16);
it is used as is. The output holds embedding (b, c, h, w), F32; for a picture also its sizes, so that prompts in its
pixels can be answered later, and coarse, its embedding at the model's own size, where answers are made there first.

Of a folder, every picture that its index.json lists (or those of folders in it; without any, all files) gets a file
<picture>.safetensors in the folder -o; decoder.safetensors beside them has the model's prompt encoder and mask decoder,
and tells the weights and the size. What is there already is left as it is, so that a run can be interrupted. Several
devices (--device cuda:0,cuda:1) share them. hrsam train distill --teacher learns from it.

Examples:
  $ hrsam embed photo.jpg -w hrsam-b.safetensors -o photo.safetensors --size 2048
  $ hrsam embed photos -w sam_vit_h.pth -o embeddings
  $ hrsam embed images.safetensors -w hrsam-b.safetensors -o embeddings.safetensors`;

export function embedCommand(): Command {
  const command = new Command('embed')
    .description('run the encoder and keep its output')
    .argument('<input>', 'a picture, a folder of pictures, or .safetensors with normalised images')
    .requiredOption('-o, --output <path>', 'where the embedding goes: .safetensors, of a folder a folder')
    .addOption(sizeOption())
    .addOption(coarseOption())
    .option('--json', 'print sizes and times as JSON');
  return addModelOptions(command).addHelpText('after', HELP).action(embed);
}

async function embed(input: string, options: EmbedOptions): Promise<void> {
  const isTensor = input.endsWith('.safetensors');
  if (isTensor && options.size !== undefined)
    usageError('--size is for pictures: tensors are used as they are');
  if ((await stat(input).catch(() => undefined))?.isDirectory()) {
    const { embedFolder } = await import('./embed_folder.js');
    return embedFolder(input, options);
  }
  expectSafetensors(options.output);
  await checkOutputs([options.output], [input, options.weights, options.config]);
  const watch = new Stopwatch();
  using model = await watch.time('load', () => loadModel(options));
  const shape = await (isTensor ? embedTensors : embedPicture)(model, input, options, watch);
  if (options.json) {
    printJson({
      input,
      output: options.output,
      embedding: shape,
      model: describeModel(model, options),
      ms: watch.ms,
    });
  } else {
    print(
      `${options.output}  embedding (${shape.join(', ')}) in ${formatMs(watch.ms.encode!)} on ${model.device.name}`,
    );
  }
}

const officialShape = ([b, h, w, c]: readonly number[]): number[] => [b!, c!, h!, w!];

async function embedPicture(
  model: HRSAM,
  path: string,
  { output, size, coarse }: EmbedOptions,
  watch: Stopwatch,
): Promise<number[]> {
  const signal = interruption();
  using image = await watch.time('encode', () =>
    withSpinner('encoding', () =>
      model.encode(path, { size, coarseToFine: coarse ? undefined : false, signal }),
    ),
  );
  await model.saveEmbedding(image, output);
  return officialShape(image.embedding.shape);
}

async function embedTensors(
  model: HRSAM,
  path: string,
  { output }: EmbedOptions,
  watch: Stopwatch,
): Promise<number[]> {
  const { encodeTensor, readImages } = await import('./embed_tensors.js');
  const { writeEmbedding } = await import('../predictor/embedding_file.js');
  using images = await readImages(path, model);
  using embedding: Tensor = await watch.time('encode', () =>
    withSpinner('encoding', () => encodeTensor(model.network, images, interruption())),
  );
  await writeEmbedding(output, embedding, undefined, undefined, await model.network.fingerprint());
  return officialShape(embedding.shape);
}
