// SAM's predictor from the weights file to the masks, against the official one on a photograph.
import { afterAll, beforeAll, expect, it } from 'vitest';
import { decodeRle, encodeRle, type Rle } from '../../lib/image/rle.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import type { EncodedImage, SegmentRequest } from '../../lib/predictor/image.js';
import type { Mask } from '../../lib/predictor/mask.js';
import { expectClose } from '../support/compare.js';
import { scratch } from '../support/files.js';
import { channelsFirst, strided } from '../support/layout.js';
import { describeShared, fixture, HostTensors, readJson, samNoise } from '../support/reference.js';
import { device, download } from '../support/run.js';
import { expectScores, fullLogits, writeCheckpoint } from './support/models.js';

const CASE = 'sam/predictor/photo-224';

interface Call {
  name: string;
  point_coords?: [number, number][];
  point_labels?: number[];
  box?: [number, number, number, number];
  mask_input?: 'best_of_previous_call';
  multimask_output: boolean;
}

describeShared("SAM's predictor on a photograph", () => {
  let model: HRSAM;
  let image: EncodedImage;
  let expected: HostTensors;
  const answers = new Map<string, Mask[]>();

  beforeAll(async () => {
    const description = readJson(`${CASE}/case.json`);
    const file = scratch('hrsam-');
    await writeCheckpoint(file('sam.safetensors'), description.model.tensors);
    model = await HRSAM.load(file('sam.safetensors'), { device, config: description.model.config });
    image = await model.encode(fixture('sam/transforms/photo.png')!);
    expected = await HostTensors.load(`${CASE}/expected.safetensors`);
    let previous: Mask[] = [];
    for (const call of description.inputs.calls as Call[]) {
      const best = previous.toSorted((a, b) => b.score - a.score)[0];
      const request: SegmentRequest = {
        points: call.point_coords,
        labels: call.point_labels,
        box: call.box,
        mask: call.mask_input && best!.logits,
        multimask: call.multimask_output,
      };
      previous = await image.segment(request);
      answers.set(call.name, previous);
    }
  });
  afterAll(() => model?.dispose());

  it('encodes the picture at the official size', async () => {
    expect(image.original).toEqual({ height: 120, width: 169 });
    expect([image.resized.height, image.resized.width]).toEqual(
      readJson(`${CASE}/case.json`).inputs.input_size,
    );
    expect(image.input).toEqual({ height: 224, width: 224 });
    const embedding = channelsFirst(await download(image.embedding));
    expect(embedding.shape).toEqual(expected.get('embedding').shape);
    expectClose(embedding.data, expected.get('embedding').data, samNoise(CASE).embedding!, 'embedding');
  });

  it.each([
    ['c1', 'one point'],
    ['c2', 'two points and the best mask of the call before'],
    ['c3', 'a box'],
    ['c4', 'a box and a point'],
  ])('%s: %s', async (name) => {
    const noise = samNoise(CASE);
    const masks = answers.get(name)!;
    const compare = (what: string, values: ArrayLike<number>) =>
      expectClose(values, expected.get(`${name}.${what}`).data, noise[`${name}.${what}`]!, what);
    compare(
      'low_res',
      masks.flatMap(({ logits }) => [...logits.data]),
    );
    expectScores(masks, expected.get(`${name}.iou`).data, CASE, `${name}.iou`);
    const full = await fullLogits(masks, image);
    compare('masks', strided(full, 4).data);

    const { area, rle } = readJson(`${CASE}/case.json`).results[name] as { area: number[]; rle: Rle[] };
    const size = full.data.length / masks.length;
    masks.forEach((mask, i) => {
      const wanted = decodeRle(rle[i]!);
      const pixels = mask.pixels();
      const flipped = [...pixels.keys()].filter((k) => pixels[k] !== wanted[k]);
      // Only where the logit is 0 to rounding.
      const clear = flipped.filter((k) => Math.abs(full.data[i * size + k]!) > noise[`${name}.masks`]!.atol!);
      expect(clear).toEqual([]);
      expect(Math.abs(mask.area - area[i]!)).toBeLessThanOrEqual(flipped.length);
      expect(mask.rle).toEqual(encodeRle(pixels, mask.height, mask.width));
    });
  });
});
