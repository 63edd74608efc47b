import { HrsamError } from '../errors.js';
import type { Size } from '../image/resize.js';
import { LOGITS_PER_TOKEN } from '../model/model.js';
import type { Owned } from '../runtime/owned.js';
import type { Tensor } from '../runtime/tensor.js';
import type { ModelConfig } from '../weights/config.js';
import type { Network } from './network.js';
import type { PromptArrays } from './prompt_tokens.js';
import { layOutPrompts, type MaskLogits, type Prompt } from './prompts.js';

/** An encoded picture, as the decoder needs it. */
export interface DecoderInput {
  /** (1, h, w, E) f32 */
  embedding: Tensor;
  /** What was resized: prompts are in its pixels. */
  padded: Size;
  resized: Size;
}

/** What the decoder says about P prompts, M masks each. */
export interface DecodedPrompts {
  /** (P, M, 4h, 4w) for an embedding of h × w cells: a quarter of the input where these are of 16 pixels. */
  logits: Tensor;
  /** M each, prompt after prompt. */
  ious: Float32Array;
  masksPerPrompt: number;
  /** Tokens of each prompt. */
  sparseEntries: readonly number[];
}

/** Logits of one run of the decoder, at most: its working memory is several times as much. */
const LOGITS_BYTES = 2 ** 24;
const MAX_PROMPTS = 64;

/** How many prompts about an embedding (1, h, w, E) are decoded together: working memory grows with them. */
export function promptsPerRun({ config }: Network, { shape }: Tensor): number {
  const [, height, width] = shape as [number, number, number];
  const masks = 1 + config.decoder.multimaskOutputs;
  const bytes = masks * 4 * LOGITS_PER_TOKEN ** 2 * height * width;
  return Math.min(MAX_PROMPTS, Math.max(1, Math.floor(LOGITS_BYTES / bytes)));
}

/**
 * One run of the decoder: prompts of one kind, all with a mask or all without.
 * @param owned takes the tensors made, the result's too
 * @throws HrsamError ERR_PROMPT, ERR_WEIGHTS, ERR_ABORTED
 */
export async function decodePrompts(
  network: Network,
  { embedding, padded, resized }: DecoderInput,
  prompts: readonly Prompt[],
  owned: Owned,
  options: { refinements?: number; signal?: AbortSignal } = {},
): Promise<DecodedPrompts> {
  const arrays = layOutPrompts(prompts, padded, resized, network.config.decoder);
  const mask = prompts[0]!.mask && owned.add(maskTensor(network, prompts));
  const decoded = await decodeTokens(network, { embedding, mask }, arrays, owned, options);
  return {
    ...decoded,
    masksPerPrompt: decoded.ious.length / arrays.count,
    sparseEntries: arrays.entries,
  };
}

/**
 * One run of the decoder over prompts laid out.
 * @param owned takes the tensors made, the result's too
 * @throws HrsamError ERR_PROMPT, ERR_WEIGHTS, ERR_ABORTED
 */
export async function decodeTokens(
  network: Network,
  inputs: { embedding: Tensor; mask?: Tensor },
  { count, tokens, points, labels, lengths }: PromptArrays,
  owned: Owned,
  options: { refinements?: number; signal?: AbortSignal },
): Promise<{ logits: Tensor; ious: Float32Array }> {
  const { device } = network;
  if (inputs.mask) checkMaskSides(inputs.mask, inputs.embedding, network.config);
  const decoded = await network.decode(
    {
      ...inputs,
      points: owned.add(device.tensor([count, tokens, 2], 'f32', points)),
      labels: owned.add(device.tensor([count, tokens], 'f32', labels)),
      lengths: owned.add(device.tensor([count], 'i32', lengths)),
    },
    options,
  );
  const logits = owned.add(decoded.masks);
  const ious = (await owned.add(decoded.ious).data()) as Float32Array;
  if (!ious.every(Number.isFinite)) {
    throw new HrsamError('ERR_WEIGHTS', 'the model gives values that are not finite', {
      expected: 'finite weights, and an embedding and mask logits that they gave',
    });
  }
  return { logits, ious };
}

/** HRSAM resizes what a mask is encoded to; SAM takes masks of its own size alone. */
function checkMaskSides({ shape }: Tensor, embedding: Tensor, { prompt }: ModelConfig): void {
  const expected = embedding.shape.slice(1, 3).map((tokens) => LOGITS_PER_TOKEN * tokens);
  const actual = shape.slice(1);
  if (!prompt.resizePositions && String(actual) !== String(expected))
    throw new HrsamError('ERR_PROMPT', 'sides of mask logits', { expected, actual });
}

function maskTensor(network: Network, prompts: readonly Prompt[]): Tensor {
  const masks = prompts.map(({ mask }) => mask!);
  const [{ height, width }] = masks as [MaskLogits];
  const data = new Float32Array(masks.length * height * width);
  masks.forEach((mask, i) => {
    if (mask.height !== height || mask.width !== width) {
      throw new HrsamError('ERR_PROMPT', 'masks of one call', {
        expected: [height, width],
        actual: [mask.height, mask.width],
      });
    }
    data.set(mask.data, i * height * width);
  });
  return network.device.tensor([masks.length, height, width], 'f32', data);
}
