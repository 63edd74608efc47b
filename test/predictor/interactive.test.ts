// The published evaluation loop, click by click: what a session must reproduce.
import { expect, it } from 'vitest';
import { ModelMethod, SIZE_DIVISOR } from '../../lib/eval/method.js';
import { runObject } from '../../lib/eval/run_object.js';
import { decodeImage } from '../../lib/image/decode.js';
import { encodeRle } from '../../lib/image/rle.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { expectClose, type Noise } from '../support/compare.js';
import { scratch } from '../support/files.js';
import { describeShared, fixture, HostTensors, hasShared, readJson } from '../support/reference.js';
import { device } from '../support/run.js';
import { fullLogits, writeCheckpoint } from './support/models.js';

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

function iou(mask: Uint8Array, label: ArrayLike<number>): number {
  const inside = mask.filter((pixel, i) => pixel === 1 && label[i] === 1).length;
  return inside / mask.filter((pixel, i) => pixel === 1 || label[i] === 1).length;
}

describeShared('a session replays the published evaluation of clicks', () => {
  const file = scratch('hrsam-');

  async function load({ config_name }: Recording): Promise<HRSAM> {
    const config = readJson('manifest.json').configs[config_name];
    const path = file(`${config_name}.safetensors`);
    await writeCheckpoint(path, config.tensors);
    return HRSAM.load(path, { device, config });
  }

  it.each(recordings)('$name', async (recording) => {
    const { clicks_yx, logits_fp32_vs_fp64 } = recording;
    using model = await load(recording);
    const picture = fixture(recording.image)!;
    using image = await model.encode(picture, { size: recording.target_size, divisor: SIZE_DIVISOR });
    expect([image.padded.height, image.padded.width]).toEqual(recording.padded_size);
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
      const pixels = mask.pixels();
      const wanted = masks.subarray(i * pixels.length, (i + 1) * pixels.length);
      // A pixel may differ only where its logit is as close to 0 as float32 arithmetic is to exact.
      const full = (await fullLogits([mask], image)).data;
      const rounding = 10 * logits_fp32_vs_fp64[i]!.max_abs;
      const flipped = pixels.filter((pixel, k) => pixel !== wanted[k]).length;
      const wrong = pixels.filter((pixel, k) => pixel !== wanted[k] && Math.abs(full[k]!) > rounding);
      expect(wrong).toHaveLength(0);
      expect(iou(pixels, label)).toBeCloseTo(recording.iou[i]!, flipped === 0 ? 12 : 3);
    }
    expect(session.clicks).toHaveLength(clicks_yx.length);
  });

  it.each(recordings)('$name, judged: the same clicks and IoUs', async (recording) => {
    const { image_size, target_size, clicks_yx, iou } = recording;
    using model = await load(recording);
    const gt = (await HostTensors.load(`clicks/interactive-${recording.name}.safetensors`)).get('gt').data;
    const object = encodeRle(Uint8Array.from(gt), ...image_size);
    using picture = await new ModelMethod([model], { size: target_size }).open(
      await decodeImage(fixture(recording.image)!),
    );
    const options = { clicks: clicks_yx.length, boundaryAt: [] };
    const { clicks, ious } = await runObject(picture, { mask: object }, options);
    expect(clicks.map(({ x, y, label }) => [y, x, label ? 'positive' : 'negative'])).toEqual(clicks_yx);
    for (const [i, wanted] of iou.entries()) expect(ious[i]).toBeCloseTo(wanted, 12);
  });
});
