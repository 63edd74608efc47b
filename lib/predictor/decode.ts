import { HrsamError } from '../errors.js';
import type { Size } from '../image/resize.js';
import type { Owned } from '../runtime/owned.js';
import type { Tensor } from '../runtime/tensor.js';
import type { Network } from './network.js';
import { layOutPrompts, type MaskLogits, type Prompt } from './prompts.js';

/** An encoded picture, as the decoder needs it. */
export interface DecoderInput {
  /** (1, h, w, E) f32 */
  embedding: Tensor;
  original: Size;
  resized: Size;
}

/** What the decoder says about P prompts, M masks each. */
export interface DecodedPrompts {
  /** (P, M, H, W), at a quarter of the model's input. */
  logits: Tensor;
  /** M each, prompt after prompt. */
  ious: Float32Array;
  masksPerPrompt: number;
  /** Points and corners of boxes of each prompt, padding included. */
  sparseEntries: readonly number[];
}

/** Logits of one run of the decoder, at most: its working memory is several times as much. */
const LOGITS_BYTES = 2 ** 24;
const MAX_PROMPTS = 64;

/** How many prompts are decoded together: working memory grows with them. */
export function promptsPerRun({ config }: Network, input: Size): number {
  const masks = 1 + config.decoder.multimaskOutputs;
  const bytes = (masks * 4 * input.height * input.width) / 16;
  return Math.min(MAX_PROMPTS, Math.max(1, Math.floor(LOGITS_BYTES / bytes)));
}

/**
 * One run of the decoder: prompts of one kind, all with a mask or all without.
 * @param owned takes the tensors made, the result's too
 * @throws HrsamError ERR_PROMPT, ERR_WEIGHTS, ERR_ABORTED
 */
export async function decodePrompts(
  network: Network,
  { embedding, original, resized }: DecoderInput,
  prompts: readonly Prompt[],
  owned: Owned,
  options: { refinements?: number; signal?: AbortSignal } = {},
): Promise<DecodedPrompts> {
  const { device, config } = network;
  const ownTokens = 2 + config.decoder.multimaskOutputs;
  const { count, tokens, points, labels, lengths } = layOutPrompts(prompts, original, resized, ownTokens);
  const own = <T extends Tensor>(tensor: T): T => owned.add(tensor);
  const inputs = {
    embedding,
    points: own(device.tensor([count, tokens, 2], 'f32', points)),
    labels: own(device.tensor([count, tokens], 'f32', labels)),
    lengths: own(device.tensor([count], 'i32', lengths)),
    mask: prompts[0]!.mask && own(maskTensor(network, prompts)),
  };
  const decoded = await network.decode(inputs, options);
  const logits = own(decoded.masks);
  const ious = (await own(decoded.ious).data()) as Float32Array;
  if (!ious.every(Number.isFinite)) {
    throw new HrsamError('ERR_WEIGHTS', 'the model gives values that are not finite', {
      expected: 'finite weights, and an embedding of them',
    });
  }
  return {
    logits,
    ious,
    masksPerPrompt: ious.length / count,
    sparseEntries: Array.from(lengths, (length) => length - ownTokens),
  };
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
