import { readLabels } from '../data/read_labels.js';
import { HrsamError } from '../errors.js';
import { evaluate } from '../graph/evaluate.js';
import { preprocess } from '../graph/ops/preprocess.js';
import { brightest, inside, white } from '../image/mask_picture.js';
import type { Size } from '../image/resize.js';
import { LOGITS_PER_TOKEN } from '../model/model.js';
import type { MaskLogits } from '../predictor/prompts.js';
import type { Device } from '../runtime/device.js';
import type { Tensor } from '../runtime/tensor.js';

/** Logit of a pixel that is wholly inside; outside it is the negative. The decoder's own logits rarely go further. */
const CERTAIN = 10;

export interface MaskPlace {
  /** The picture and the whole input of the model, in its pixels. */
  resized: Size;
  input: Size;
  /** (1, h, w, E). */
  embedding: Pick<Tensor, 'shape'>;
}

/** A picture's mask, 0 … 255 a pixel. */
export interface MaskPixels extends Size {
  data: Uint8Array;
}

/**
 * A black and white picture, brightest channel alone.
 * @throws HrsamError ERR_FILE, ERR_IMAGE; ERR_PROMPT when it has another size than the picture or nothing white
 */
export async function readMaskPicture(path: string, original: Size): Promise<MaskPixels> {
  const picture = await readLabels(path);
  const { width, height } = picture;
  if (width !== original.width || height !== original.height) {
    throw new HrsamError('ERR_PROMPT', 'the mask does not have the size of the picture', {
      where: path,
      expected: `${original.width} x ${original.height}`,
      actual: `${width} x ${height}`,
    });
  }
  const [value, test] = [brightest(picture), inside(picture)];
  const scale = 255 / white(picture);
  const brightness = new Uint8Array(width * height);
  for (let i = 0; i < brightness.length; i++) brightness[i] = scale * value(i);
  if (!brightness.some((_, i) => test(value(i)))) {
    throw new HrsamError('ERR_PROMPT', 'the mask is empty', {
      where: path,
      expected: 'white (255) where the object is, black elsewhere',
    });
  }
  return { data: brightness, width, height };
}

/**
 * A black and white picture as a mask prompt: brought to the size of the model's masks with antialiasing, so that an
 * edge pixel's logit follows how much of it lies inside; black −10, white +10, and −10 beyond the picture.
 */
export async function maskPrompt(mask: MaskPixels, place: MaskPlace, device: Device): Promise<MaskLogits> {
  const { resized, input, embedding } = place;
  const [, rows, columns] = embedding.shape as [number, number, number];
  const logits = { height: LOGITS_PER_TOKEN * rows, width: LOGITS_PER_TOKEN * columns };
  const scaled = (side: number) => Math.max(1, Math.round((side * logits.height) / input.height));
  const [h, w] = [scaled(resized.height), scaled(resized.width)];
  const grey = [127.5, 127.5, 127.5];
  using pixels = device.tensor([mask.height, mask.width, 1], 'u8', mask.data);
  const { small } = await evaluate({ pixels }, (graph, given) => ({
    small: preprocess(graph, given.pixels!, {
      size: [h, w],
      padded: [h, w],
      mean: grey,
      std: grey.map((level) => level / CERTAIN),
      antialias: true,
      swap: false,
    }),
  }));
  using channelsOfIt = small!;
  const values = (await channelsOfIt.data()) as Float32Array;
  const padded = new Float32Array(logits.height * logits.width).fill(-CERTAIN);
  for (let y = 0; y < h; y++) padded.set(values.subarray(y * w, (y + 1) * w), y * logits.width);
  return { data: padded, ...logits };
}
