import { extname } from 'node:path';
import { Command } from 'commander';
import { PICTURE_FORMATS, PICTURES } from '../data/files.js';
import { writeWhole } from '../files.js';
import type { Size } from '../image/resize.js';
import type { HRSAM } from '../predictor/hrsam.js';
import type { EncodedImage } from '../predictor/image.js';
import type { Mask } from '../predictor/mask.js';
import { maskJson } from '../predictor/mask_json.js';
import type { Prompt } from '../predictor/prompts.js';
import { interruption } from './interrupt.js';
import { describeModel, loadModel, Stopwatch } from './model.js';
import {
  addMaskOptions,
  addModelOptions,
  type BoxOption,
  coarseOption,
  collectBox,
  collectPoint,
  minRegionOption,
  type PictureOptions,
  type PointOption,
  refineOption,
  sizeOption,
  zoomOption,
} from './options.js';
import { checkOutputs, formatMs, numbered, print, printJson, table } from './output.js';
import { pictureFormat } from './picture_format.js';
import { withSpinner } from './progress.js';
import { usageError } from './usage.js';

interface SegmentCommandOptions extends PictureOptions {
  point?: PointOption[];
  box?: BoxOption[];
  mask?: string;
  multimask?: boolean;
  refine?: number;
  minRegion?: number;
  coarse: boolean;
  zoom?: boolean;
}

const HELP = `
Coordinates are pixels of the picture as it is seen, that is after its EXIF orientation. All points belong to one
object. A box alone is a prompt of its own, so several boxes give several masks; one box may be combined with points.
The mask picture has the picture's size; it becomes logits from -10 (black) to 10 (white) at a quarter of the model's
input. Several masks are written as mask-0.png, mask-1.png, … An answer that fills most of the picture is not made
again by --zoom.

Examples:
  $ hrsam segment photo.jpg -p 640,480 --zoom -o mask.png --overlay overlay.png
  $ hrsam segment photo.jpg -w hrsam-b.safetensors -p 640,480 -p 700,300,0 -b 500,200,900,700 --size 2048
  $ hrsam segment photo.jpg -w hrsam-b.safetensors -b 10,10,200,200 -b 300,40,500,220 --json`;

export function segmentCommand(): Command {
  const command = new Command('segment')
    .description('segment an object of a picture by points, boxes and masks')
    .argument('<picture>', PICTURE_FORMATS)
    .option(
      '-p, --point <x,y[,label]>',
      'a point of the object, or with label 0 of the background',
      collectPoint,
    )
    .option('-b, --box <x0,y0,x1,y1>', 'a box around an object', collectBox)
    .option('--mask <picture>', 'an earlier or rough mask: white inside, black outside')
    .option('--multimask', 'three masks per prompt: whole, part and subpart')
    .addOption(refineOption())
    .addOption(minRegionOption())
    .addOption(coarseOption())
    .addOption(zoomOption())
    .addOption(sizeOption())
    .option(
      '-o, --output <png>',
      'where the mask goes (default: mask.png, unless --json, --rle or --overlay)',
    )
    .option('--overlay <png>', 'the picture with masks and prompts drawn over it (.png, .jpg or .webp)');
  return addModelOptions(addMaskOptions(command)).addHelpText('after', HELP).action(segment);
}

/** A name that promises another format than the one that is written is a mistake. */
function checkExtensions({ output, overlay }: SegmentCommandOptions): void {
  if (output && PICTURES.test(output) && !/\.png$/i.test(output))
    usageError(`masks are PNG files, not ${extname(output)}`);
  if (overlay) pictureFormat(overlay);
}

/** Points, one box and the mask together; or each of several boxes alone. */
function checkPrompts(options: SegmentCommandOptions): void {
  const { point, box = [], mask, multimask, refine, minRegion, zoom } = options;
  if (multimask && refine !== undefined)
    usageError('--refine is for one mask per prompt: not together with --multimask');
  if (multimask && minRegion !== undefined)
    usageError('--min-region is for one mask per prompt: not together with --multimask');
  if (multimask && zoom) usageError('--zoom is for one mask per prompt: not together with --multimask');
  if (!point && box.length === 0 && !mask) {
    usageError('nothing to segment: give a point (-p x,y), a box (-b x0,y0,x1,y1) or a mask (--mask m.png)');
  }
  if (box.length > 1 && (point || mask)) {
    usageError(
      'several boxes are prompts of their own: combine one box with points or a mask, or give boxes alone',
    );
  }
}

/** What was asked, checked before the work begins; the mask follows once the model's input is known. */
async function prompts({ point, box = [], mask }: SegmentCommandOptions, picture: Size) {
  const { checkPrompt } = await import('../predictor/prompts.js');
  const { readMaskPicture } = await import('./mask_prompt.js');
  const list: Prompt[] =
    box.length > 1
      ? box.map((corners) => ({ box: corners }))
      : [
          {
            points: point?.map(({ x, y }) => [x, y] as const),
            labels: point?.map(({ label }) => label),
            box: box[0],
          },
        ];
  const pixels = mask === undefined ? undefined : await readMaskPicture(mask, picture);
  const isMaskAlone = !point && box.length === 0;
  if (!isMaskAlone) for (const prompt of list) checkPrompt(prompt, picture, '');
  return { list, pixels };
}

async function segment(picture: string, options: SegmentCommandOptions): Promise<void> {
  checkPrompts(options);
  checkExtensions(options);
  const { mask, rle, overlay, json, weights, config } = options;
  const output = options.output ?? (json || rle || overlay ? undefined : 'mask.png');
  const inputs = [picture, mask, weights, config];
  await checkOutputs([output, overlay, rle], inputs);
  const signal = interruption();
  const watch = new Stopwatch();
  const { decodeImage } = await import('../image/decode.js');
  const pixels = await watch.time('decode', () => decodeImage(picture));
  const asked = await prompts(options, pixels);
  using model = await watch.time('load', () => loadModel(options));
  using image = await watch.time('encode', () =>
    withSpinner('encoding', () => {
      const coarseToFine = options.coarse && !options.multimask ? undefined : false;
      return model.encode(pixels, { size: options.size, coarseToFine, zoom: options.zoom, signal });
    }),
  );
  const masks = await watch.time('segment', () =>
    withSpinner('segmenting', () => find(model, image, asked, options, signal)),
  );
  const files = output === undefined ? [] : masks.map((_, i) => numbered(output, i, masks.length));
  await checkOutputs([...files, overlay, rle], inputs);
  await watch.time('write', () => write(masks, files, pixels, options));
  const results = masks.map(({ prompt, mask }, i) => ({ prompt, ...maskJson(mask), file: files[i] }));
  if (rle) await writeWhole(rle, `${JSON.stringify(results.map(({ file, ...rest }) => rest))}\n`);
  const { original, input } = image;
  if (json) {
    const described = describeModel(model, options);
    printJson({
      picture,
      size: original,
      input,
      model: described,
      masks: results,
      overlay,
      rle,
      ms: watch.ms,
    });
    return;
  }
  printMasks(results);
  for (const path of [overlay, rle]) if (path) print(path);
  print(
    `${original.width} x ${original.height} at ${input.width} x ${input.height} on ${model.device.name}: ` +
      `encoded in ${formatMs(watch.ms.encode!)}, masks in ${formatMs(watch.ms.segment!)}`,
  );
}

function printMasks(masks: readonly (ReturnType<typeof maskJson> & { file?: string })[]): void {
  const rows = masks.map(({ score, area, bbox, file }, i) => [
    file ?? `mask ${i}`,
    score.toFixed(3),
    String(area),
    bbox.join(','),
  ]);
  print(table(['mask', 'score', 'pixels', 'box'], rows));
}

/** The masks of all prompts, each with its prompt's place among them. */
async function find(
  model: HRSAM,
  image: EncodedImage,
  { list, pixels }: Awaited<ReturnType<typeof prompts>>,
  { multimask, refine, minRegion }: SegmentCommandOptions,
  signal: AbortSignal,
): Promise<{ prompt: number; mask: Mask }[]> {
  const { maskPrompt } = await import('./mask_prompt.js');
  const mask = pixels && (await maskPrompt(pixels, image, model.device));
  const asked = list.map((prompt) => ({ ...prompt, mask }));
  const found = await image.segment(asked, { multimask, refinements: refine, minRegion, signal });
  return found.flatMap((masks, prompt) => masks.map((each) => ({ prompt, mask: each })));
}

/** Writes masks, where there are files for them, and overlay. */
async function write(
  masks: readonly { mask: Mask }[],
  files: readonly string[],
  picture: Parameters<typeof import('../image/overlay.js').renderOverlay>[0],
  { overlay, point, box }: SegmentCommandOptions,
): Promise<void> {
  for (const [i, file] of files.entries()) await writeWhole(file, await masks[i]!.mask.toPng());
  if (overlay !== undefined) {
    const { renderOverlay } = await import('../image/overlay.js');
    const drawn = { masks: masks.map(({ mask }) => mask.pixels()), points: point, boxes: box };
    await writeWhole(overlay, await renderOverlay(picture, { ...drawn, format: pictureFormat(overlay) }));
  }
}
