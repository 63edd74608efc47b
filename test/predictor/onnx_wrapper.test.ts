// What SAM's ONNX wrapper adds to the decoder: its choice of a mask, scores, areas, and its own size rule.
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import type { EncodedImage } from '../../lib/predictor/image.js';
import type { Mask } from '../../lib/predictor/mask.js';
import type { Prompt } from '../../lib/predictor/prompts.js';
import { selectAsOnnx } from '../../lib/predictor/select.js';
import { stabilityScore } from '../../lib/predictor/stability.js';
import { configFromAuthors } from '../../lib/weights/authors.js';
import { randomWeights } from '../../lib/weights/checkpoint.js';
import { writeSafetensors } from '../../lib/weights/safetensors_writer.js';
import { expectClose } from '../support/compare.js';
import { scratch } from '../support/files.js';
import { strided } from '../support/layout.js';
import { onnxLongestSide } from '../support/onnx_size.js';
import { generate, HostTensors, readJson, samNoise, type TensorRule } from '../support/reference.js';
import { device, host } from '../support/run.js';
import { expectScores, fullLogits, writeCheckpoint } from './support/models.js';

const CASE = 'sam/onnx_wrapper';
const SIDE = 256;

interface Run {
  name: string;
  point_coords: [number, number][][];
  point_labels: number[][];
  mask_input: TensorRule | null;
  orig_im_size: [number, number];
  return_single_mask: boolean;
  use_stability_score: boolean;
  selected: number[] | null;
}

const {
  runs,
  model: reference,
  inputs,
} = readJson(`${CASE}/case.json`) as {
  runs: Run[];
  model: { config: Record<string, unknown>; tensors: TensorRule[] };
  inputs: { image_embedding: TensorRule };
};
const noise = samNoise(CASE);

/** Of large results every n-th row and column is stored, as a note says. */
function strideOf(tensor: string): number {
  const { note = '' } = readJson(`${CASE}/case.json`).expected.tensors[tensor];
  return Number(/every (\d+)/.exec(note)?.[1] ?? 1);
}

describe("SAM's ONNX wrapper", () => {
  let model: HRSAM;
  let expected: HostTensors;
  const file = scratch('hrsam-');

  beforeAll(async () => {
    // The wrapper begins with an embedding: the encoder is there to make the weights complete.
    const config = {
      ...reference.config,
      image_encoder: { embed_dim: 16, depth: 1, num_heads: 1, window_size: 4, global_attn_indexes: [0] },
    };
    const stand = await randomWeights(configFromAuthors(config));
    const encoder = [...stand.tensors.values()].filter(({ name }) => name.startsWith('image_encoder.'));
    await writeCheckpoint(file('sam.safetensors'), [
      ...reference.tensors,
      ...encoder.map(({ officialName, shape }) => ({ name: officialName, shape: [...shape] })),
    ]);
    model = await HRSAM.load(file('sam.safetensors'), { device, config });
    expected = await HostTensors.load(`${CASE}/expected.safetensors`);
  });
  afterAll(() => model?.dispose());

  /** The wrapper's embedding as that of a picture. */
  async function encoded([height, width]: [number, number]): Promise<EncodedImage> {
    const { shape, data } = generate(inputs.image_embedding);
    const sizes = {
      original: { height, width },
      resized: onnxLongestSide(height, width, SIDE),
      input: { height: SIDE, width: SIDE },
    };
    const path = file(`${height}x${width}.safetensors`);
    const metadata: [string, string][] = [['hrsam.picture', JSON.stringify(sizes)]];
    await writeSafetensors(path, [{ name: 'embedding', dtype: 'F32', shape, data }], { metadata });
    return model.loadEmbedding(path);
  }

  /** The wrapper takes coordinates of the model's input; padding points and box corners come as points. */
  function prompts({ point_coords, point_labels, mask_input }: Run, image: EncodedImage): Prompt[] {
    const ratio = [image.original.width / image.resized.width, image.original.height / image.resized.height];
    return point_coords.map((coords, p) => {
      const places = coords.map(([x, y], i) => ({
        xy: [x * ratio[0]!, y * ratio[1]!] as [number, number],
        label: point_labels[p]![i]!,
      }));
      const clicks = places.filter(({ label }) => label === 0 || label === 1);
      const corners = places.filter(({ label }) => label > 1).flatMap(({ xy }) => xy);
      const mask = mask_input && generate(mask_input);
      return {
        points: clicks.map(({ xy }) => xy),
        labels: clicks.map(({ label }) => label),
        box: corners.length ? (corners as unknown as Prompt['box']) : undefined,
        mask: mask ? { data: mask.data, height: mask.shape[2]!, width: mask.shape[3]! } : undefined,
      };
    });
  }

  /** All masks of each prompt, or the wrapper's choice. */
  async function answer(run: Run, image: EncodedImage): Promise<Mask[]> {
    const given = prompts(run, image);
    if (run.return_single_mask && !run.use_stability_score)
      return (await image.segment(given, { multimask: 'auto' })).flat();
    const single = await image.segment(given, { multimask: false });
    const others = await image.segment(given, { multimask: true });
    const all = [...single[0]!, ...others[0]!];
    if (!run.return_single_mask) return all;
    const stability = all.map(({ logits }) => stabilityScore(logits.data));
    return [all[selectAsOnnx(stability, run.point_labels[0]!.length)]!];
  }

  it.each(runs)('$name', async (run) => {
    using image = await encoded(run.orig_im_size);
    const masks = await answer(run, image);
    if (run.selected) expect(masks.map(({ index }) => index)).toEqual(run.selected);
    const compare = (what: string, values: ArrayLike<number>) =>
      expectClose(values, expected.get(`${run.name}.${what}`).data, noise[`${run.name}.${what}`]!, what);

    if (run.use_stability_score)
      compare(
        'scores',
        masks.map(({ logits }) => stabilityScore(logits.data)),
      );
    else expectScores(masks, expected.get(`${run.name}.scores`).data, CASE, `${run.name}.scores`);
    const full = await fullLogits(masks, image);
    compare('upscaled', strided(full, strideOf(`${run.name}.upscaled`)).data);
    const planes = masks.map((_, i) =>
      full.data.subarray((i * full.data.length) / masks.length, ((i + 1) * full.data.length) / masks.length),
    );
    compare(
      'stability',
      planes.map((plane) => stabilityScore(plane)),
    );
    const areas = expected.get(`${run.name}.areas`).data;
    masks.forEach((mask, i) => {
      const unsure = planes[i]!.filter((logit) => Math.abs(logit) <= noise[`${run.name}.upscaled`]!.atol!);
      expect(Math.abs(mask.area - areas[i]!)).toBeLessThanOrEqual(unsure.length);
    });
    if (expected.has(`${run.name}.low_res`)) {
      const low = masks.map(({ logits }) => host([1, logits.height, logits.width], logits.data));
      compare(
        'low_res',
        low.flatMap((plane) => [...strided(plane, strideOf(`${run.name}.low_res`)).data]),
      );
    }
  });
});
