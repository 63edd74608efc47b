import { rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Command } from 'commander';
import { PICTURE_FORMATS } from '../data/files.js';
import { makeFolder, writeWhole } from '../files.js';
import type { Pixels } from '../image/pixels.js';
import type { FoundMask } from '../predictor/everything.js';
import { EVERYTHING } from '../predictor/everything_options.js';
import type { EncodedImage } from '../predictor/image.js';
import { interruption } from './interrupt.js';
import { describeModel, loadModel, Stopwatch } from './model.js';
import {
  addMaskOptions,
  addModelOptions,
  type PictureOptions,
  share,
  sizeOption,
  wholeNumber,
} from './options.js';
import { checkOutputs, formatMs, print, printJson, table } from './output.js';
import { pictureFormat } from './picture_format.js';
import { progressBar, withSpinner } from './progress.js';

interface EverythingCommandOptions extends PictureOptions {
  points?: number;
  minScore?: number;
  minStability?: number;
  maxOverlap?: number;
}

const HELP = `
Clicks on a grid of the picture, keeps of the masks those that the model is sure of (--min-score, --min-stability) and
that no better one covers (--max-overlap), the best first. A model that is not sure of much finds more with lower
bounds.

Examples:
  $ hrsam everything photo.jpg --overlay everything.png
  $ hrsam everything photo.jpg -w sam_vit_h.pth --points 64 -o masks --rle masks.json
  $ hrsam everything photo.jpg --min-score 0.7 --min-stability 0.9 --json`;

const usual = (setting: keyof typeof EVERYTHING): string => `(default: ${EVERYTHING[setting].default})`;

export function everythingCommand(): Command {
  const command = new Command('everything')
    .description('find all objects of a picture, without prompts')
    .argument('<picture>', PICTURE_FORMATS)
    .option(
      '--points <n>',
      `clicks in each direction of the grid ${usual('pointsPerSide')}`,
      wholeNumber(EVERYTHING.pointsPerSide.min, EVERYTHING.pointsPerSide.max),
    )
    .option('--min-score <iou>', `least IoU that the model predicts ${usual('minScore')}`, share)
    .option(
      '--min-stability <share>',
      `least stability against a moved threshold ${usual('minStability')}`,
      share,
    )
    .option('--max-overlap <iou>', `of boxes that overlap by more, one stays ${usual('maxOverlap')}`, share)
    .addOption(sizeOption())
    .option('-o, --output <folder>', 'where the masks go, as 0.png, 1.png, …')
    .option(
      '--overlay <png>',
      'the picture with the masks over it (.png, .jpg or .webp; default: everything.png, unless -o, --rle or --json)',
    );
  return addModelOptions(addMaskOptions(command)).addHelpText('after', HELP).action(everything);
}

async function everything(picture: string, options: EverythingCommandOptions): Promise<void> {
  const { output } = options;
  const isNew = output !== undefined && (await makeFolder(output));
  try {
    await findAll(picture, options);
  } catch (error) {
    if (isNew) await rmdir(output).catch(() => {}); // masks in it stay
    throw error;
  }
}

async function findAll(picture: string, options: EverythingCommandOptions): Promise<void> {
  const { output, rle, json, weights, config } = options;
  const overlay = options.overlay ?? (output || rle || json ? undefined : 'everything.png');
  const format = overlay === undefined ? undefined : pictureFormat(overlay);
  const inputs = [picture, weights, config];
  await checkOutputs([overlay, rle], inputs);
  const signal = interruption();
  const watch = new Stopwatch();
  const { decodeImage } = await import('../image/decode.js');
  const pixels = await watch.time('decode', () => decodeImage(picture));
  using model = await watch.time('load', () => loadModel(options));
  using image = await watch.time('encode', () =>
    withSpinner('encoding', () => model.encode(pixels, { size: options.size, coarseToFine: false, signal })),
  );
  const found = await watch.time('find', () => find(image, options, signal));
  const results = found.map(({ mask, stability, point }) => ({
    score: mask.score,
    stability,
    area: mask.area,
    bbox: mask.bbox,
    point,
    rle: mask.compressedRle(),
  }));
  const files = output ? found.map((_, i) => join(output, `${i}.png`)) : [];
  await checkOutputs([...files, overlay, rle], inputs);
  await watch.time('write', async () => {
    if (rle) await writeWhole(rle, `${JSON.stringify(results)}\n`);
    for (const [i, file] of files.entries()) await writeWhole(file, await found[i]!.mask.toPng());
    if (overlay) await writeWhole(overlay, await draw(pixels, found, format!));
  });
  if (json) {
    const { original, input } = image;
    const described = describeModel(model, options);
    printJson({ picture, size: original, input, model: described, masks: results, ms: watch.ms });
    return;
  }
  const rows = results.map(({ score, stability, area, bbox }, i) => [
    String(i),
    score.toFixed(3),
    stability.toFixed(3),
    String(area),
    bbox.join(','),
  ]);
  if (rows.length > 0) print(table(['mask', 'score', 'stability', 'pixels', 'box'], rows));
  else print('nothing found: lower --min-score or --min-stability');
  for (const path of [overlay, output, rle]) if (path) print(path);
  print(
    `${rows.length} masks on ${model.device.name}: encoded in ${formatMs(watch.ms.encode!)}, found in ${formatMs(watch.ms.find!)}`,
  );
}

async function find(image: EncodedImage, options: EverythingCommandOptions, signal: AbortSignal) {
  const { points, minScore, minStability, maxOverlap } = options;
  const bar = await progressBar('clicking');
  try {
    const bounds = { minScore, minStability, maxOverlap };
    return await image.everything({ pointsPerSide: points, ...bounds, signal, onProgress: bar.update });
  } finally {
    bar.end();
  }
}

/** The largest masks below, so that none is hidden. */
async function draw(
  picture: Pixels,
  found: readonly FoundMask[],
  format: 'png' | 'jpeg' | 'webp',
): Promise<Buffer> {
  const { renderOverlay } = await import('../image/overlay.js');
  const masks = found.map(({ mask }) => mask).sort((a, b) => b.area - a.area);
  return renderOverlay(picture, { masks: masks.map((mask) => mask.pixels()), format });
}
