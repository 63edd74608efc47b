import { dirname } from 'node:path';
import { HrsamError } from '../errors.js';
import { LABEL } from '../model/prompt_encoder.js';
import { decodeTokens, promptsPerRun } from '../predictor/decode.js';
import type { Network } from '../predictor/network.js';
import { arrange, boxTokens, type PromptToken, promptTokens } from '../predictor/prompt_tokens.js';
import { elementCount } from '../runtime/dtype.js';
import { Owned } from '../runtime/owned.js';
import type { Tensor } from '../runtime/tensor.js';
import type { ModelConfig } from '../weights/config.js';
import { interruption } from './interrupt.js';
import { type MaskBatch, readMask, type TensorPrompt } from './prompts_file.js';

/** @throws HrsamError ERR_SHAPE when the embedding (b, h, w, c) is not of such a model */
export function checkEmbedding({ shape }: Tensor, config: ModelConfig, where: string): void {
  const channels = config.prompt.embedDim;
  if (shape[3] === channels) return;
  throw new HrsamError('ERR_SHAPE', 'not an embedding of this model', {
    where,
    expected: `(b, ${channels}, h, w)`,
    actual: [shape[0], shape[3], shape[1], shape[2]],
  });
}

/** What the decoder says to a batch of prompts, on the host. */
export interface Decoded {
  /** (b, masks, 4h, 4w) */
  shape: readonly number[];
  masks: Float32Array;
  ious: Float32Array;
}

/**
 * Decodes one batch of prompts. Those about one embedding take turns; where each has its own, all are decoded together.
 * @param earlier results that masks may come from
 * @throws HrsamError ERR_PROMPT, ERR_FILE, ERR_WEIGHTS, ERR_ABORTED
 */
export async function decodeBatch(
  network: Network,
  embedding: Tensor,
  prompt: TensorPrompt,
  earlier: ReadonlyMap<string, Decoded>,
  promptsPath: string,
): Promise<Decoded> {
  const where = `${promptsPath}: prompt '${prompt.name}'`;
  const logits = await maskLogits(prompt, earlier, where, dirname(promptsPath));
  const batch = embedding.shape[0]!;
  // Nothing at all is a prompt to SAM's decoder too: one for each embedding.
  const count = prompt.points?.length ?? prompt.boxes?.length ?? logits?.shape[0] ?? batch;
  if (batch !== 1 && batch !== count) {
    throw new HrsamError('ERR_PROMPT', 'as many prompts as embeddings, unless there is one embedding', {
      where,
      expected: batch,
      actual: count,
    });
  }
  if (logits && logits.shape[0] !== 1 && logits.shape[0] !== count) {
    throw new HrsamError('ERR_PROMPT', 'masks', {
      where,
      expected: `1 or ${count}`,
      actual: logits.shape[0],
    });
  }
  const lists = tokenLists(prompt, count);
  const run = batch === 1 ? promptsPerRun(network, embedding) : count;
  let result: Decoded | undefined;
  for (let first = 0; first < count; first += run) {
    const last = Math.min(count, first + run);
    const mask = logits && (logits.shape[0] === 1 ? logits : slice(logits, first, last));
    const part = await decodeLists(network, embedding, lists.slice(first, last), mask);
    if (last - first === count) return part;
    const [, ...rest] = part.shape;
    const [length, each] = [elementCount(rest), part.ious.length / (last - first)];
    result ??= {
      shape: [count, ...rest],
      masks: new Float32Array(count * length),
      ious: new Float32Array(count * each),
    };
    result.masks.set(part.masks, first * length);
    result.ious.set(part.ious, first * each);
  }
  return result!;
}

const slice = ({ shape: [, height, width], data }: MaskBatch, first: number, last: number): MaskBatch => ({
  shape: [last - first, height, width],
  data: data.subarray(first * height * width, last * height * width),
});

async function decodeLists(
  network: Network,
  embedding: Tensor,
  lists: readonly PromptToken[][],
  logits?: MaskBatch,
): Promise<Decoded> {
  const arrays = arrange(lists, network.config.decoder);
  using owned = new Owned();
  const mask = logits && owned.add(network.device.tensor(logits.shape, 'f32', logits.data));
  const decoded = await decodeTokens(network, { embedding, mask }, arrays, owned, { signal: interruption() });
  return {
    shape: decoded.logits.shape,
    masks: (await decoded.logits.data()) as Float32Array,
    ious: decoded.ious,
  };
}

const tokenLists = ({ points, labels, boxes }: TensorPrompt, count: number): PromptToken[][] =>
  Array.from({ length: count }, (_, p) => {
    const clicks = points?.[p]?.map(([x, y], i) => ({ x, y, label: pointLabel(labels![p]![i]!) }));
    const box = boxes?.[p];
    return promptTokens(clicks, box && boxTokens(...box));
  });

async function maskLogits(
  { mask_logits: source }: TensorPrompt,
  earlier: ReadonlyMap<string, Decoded>,
  where: string,
  folder: string,
): Promise<MaskBatch | undefined> {
  if (!source) return undefined;
  if (!('from_prompt' in source)) return readMask(source, folder, where);
  const { shape, masks } = earlier.get(source.from_prompt)!;
  const [batch, perPrompt, height, width] = shape as [number, number, number, number];
  if (source.mask_index >= perPrompt) {
    throw new HrsamError('ERR_PROMPT', 'mask_index', {
      where,
      expected: `0 to ${perPrompt - 1}`,
      actual: source.mask_index,
    });
  }
  const data = new Float32Array(batch * height * width);
  for (let b = 0; b < batch; b++) {
    const at = (b * perPrompt + source.mask_index) * height * width;
    data.set(masks.subarray(at, at + height * width), b * height * width);
  }
  return { shape: [batch, height, width], data };
}

const pointLabel = (label: number): number =>
  label === LABEL.foreground || label === LABEL.background || label === LABEL.padding ? label : LABEL.unknown;
