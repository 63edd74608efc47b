// The published evaluation loop, click by click: what a session must reproduce.
import { beforeAll, expect, it } from 'vitest';
import { evaluate } from '../../lib/graph/evaluate.js';
import { bilinearResize } from '../../lib/graph/ops/bilinear_resize.js';
import { concat } from '../../lib/graph/ops/concat.js';
import { preprocess } from '../../lib/graph/ops/preprocess.js';
import { decodeImage } from '../../lib/image/decode.js';
import { officialLongestSide } from '../../lib/image/resize.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { EncodedImage } from '../../lib/predictor/image.js';
import { expectClose, type Noise } from '../support/compare.js';
import { describeShared, fixture, HostTensors, hasShared, readJson } from '../support/reference.js';
import { device, host, upload } from '../support/run.js';
import { fullLogits, temporaryFolder, writeCheckpoint } from './support/models.js';

interface Recording {
  name: string;
  config_name: string;
  image: string;
  image_size: [number, number];
  padded_size: [number, number];
  target_size: number;
  clicks_yx: [number, number, 'positive' | 'negative'][];
  iou: number[];
  logits_fp32_vs_fp64: (Noise & { max_abs: number })[];
}

const recordings: Recording[] = hasShared ? readJson('clicks/interactive.json') : [];

/** The loop pads the normalised picture to a multiple of 32 first, then resizes and pads to the target. */
async function encode(model: HRSAM, recording: Recording): Promise<EncodedImage> {
  const { image_size, padded_size, target_size } = recording;
  const { data, height, width } = await decodeImage(fixture(recording.image)!);
  const { mean, std } = model.config.image;
  const resized = officialLongestSide(padded_size[0], padded_size[1], target_size);
  const below = [1, 3, target_size - resized.height, target_size];
  using pixels = upload(host([height, width, 3], data), 'u8');
  using zeros = upload(host(below, new Float32Array(below.reduce((product, size) => product * size))));
  const { input } = await evaluate({ pixels, zeros }, (graph, v) => {
    const options = { size: image_size, padded: padded_size, mean, std, antialias: false, swap: false };
    const padded = preprocess(graph, v.pixels!, options);
    const image = bilinearResize(graph, padded, [resized.height, resized.width], false);
    return { input: concat(graph, [image, v.zeros!], 2) };
  });
  using image = input!;
  expect(image.shape).toEqual([1, 3, target_size, target_size]);
  const [embedding] = await model.network.encode([image]);
  const [paddedHeight, paddedWidth] = padded_size;
  return new EncodedImage(
    model.network,
    embedding!,
    { resized: [resized.height, resized.width], input: [target_size, target_size] },
    { height: paddedHeight, width: paddedWidth },
  );
}

/** The part that is picture, without the padding to a multiple of 32. */
const unpadded = (values: ArrayLike<number>, stride: number, [height, width]: [number, number]): number[] =>
  Array.from({ length: height * width }, (_, i) => values[Math.floor(i / width) * stride + (i % width)]!);

function iou(mask: readonly number[], label: ArrayLike<number>): number {
  const inside = mask.filter((pixel, i) => pixel === 1 && label[i] === 1).length;
  return inside / mask.filter((pixel, i) => pixel === 1 || label[i] === 1).length;
}

describeShared('a session replays the published evaluation of clicks', () => {
  let file: (name: string) => string;
  beforeAll(async () => {
    file = await temporaryFolder();
  });

  it.each(recordings)('$name', async (recording) => {
    const { image_size, clicks_yx, logits_fp32_vs_fp64 } = recording;
    const config = readJson('manifest.json').configs[recording.config_name];
    const path = file(`${recording.config_name}.safetensors`);
    await writeCheckpoint(path, config.tensors);
    using model = await HRSAM.load(path, { device, config });
    using image = await encode(model, recording);
    const expected = await HostTensors.load(`clicks/interactive-${recording.name}.safetensors`);
    const [logits, masks] = [expected.get('logits').data, expected.get('masks').data];
    const label = expected.get('gt').data;
    const [height, width] = expected.get('logits').shape.slice(1) as [number, number];

    const session = image.session();
    for (const [i, [y, x, kind]] of clicks_yx.entries()) {
      const mask = await session.click(x, y, kind === 'positive' ? 1 : 0);
      expect([mask.index, mask.logits.height, mask.logits.width]).toEqual([0, height, width]);
      const low = logits.subarray(i * height * width, (i + 1) * height * width);
      expectClose(mask.logits.data, low, logits_fp32_vs_fp64[i]!, `logits after click ${i + 1}`);
      const pixels = unpadded(mask.pixels(), mask.width, image_size);
      const wanted = masks.subarray(i * pixels.length, (i + 1) * pixels.length);
      // A pixel may differ only where its logit is as close to 0 as float32 arithmetic is to exact.
      const full = unpadded((await fullLogits([mask], image)).data, image.original.width, image_size);
      const rounding = 10 * logits_fp32_vs_fp64[i]!.max_abs;
      const flipped = pixels.filter((pixel, k) => pixel !== wanted[k]).length;
      const wrong = pixels.filter((pixel, k) => pixel !== wanted[k] && Math.abs(full[k]!) > rounding);
      expect(wrong).toEqual([]);
      expect(iou(pixels, label)).toBeCloseTo(recording.iou[i]!, flipped === 0 ? 12 : 3);
    }
    expect(session.clicks).toHaveLength(clicks_yx.length);
  });
});
