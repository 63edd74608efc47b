import { dirname } from 'node:path';
import { HrsamError } from '../errors.js';
import { LABEL } from '../model/prompt_encoder.js';
import type { Network } from '../predictor/network.js';
import { arrange } from '../predictor/prompts.js';
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
 * Decodes one batch of prompts.
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
  const count = prompt.points?.length ?? prompt.boxes?.length ?? logits?.shape[0];
  const batch = embedding.shape[0]!;
  if (count === undefined) {
    throw new HrsamError('ERR_PROMPT', 'empty', { where, expected: 'points, boxes or mask_logits' });
  }
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
  const { multimaskOutputs } = network.config.decoder;
  const arrays = arrange(tokenLists(prompt, count), 2 + multimaskOutputs);
  using owned = new Owned();
  const tensor = (shape: number[], dtype: 'f32' | 'i32', data: Float32Array | Int32Array) =>
    owned.add(network.device.tensor(shape, dtype, data));
  const { masks, ious } = await network.decode(
    {
      embedding,
      points: tensor([count, arrays.tokens, 2], 'f32', arrays.points),
      labels: tensor([count, arrays.tokens], 'f32', arrays.labels),
      lengths: tensor([count], 'i32', arrays.lengths),
      mask: logits && tensor(logits.shape, 'f32', logits.data),
    },
    { signal: interruption() },
  );
  owned.add(masks);
  owned.add(ious);
  return {
    shape: masks.shape,
    masks: (await masks.data()) as Float32Array,
    ious: (await ious.data()) as Float32Array,
  };
}

type Token = { x: number; y: number; label: number };

/** Each prompt's points, then, as the official prompt encoder has it, a padding point or the corners of its box. */
function tokenLists({ points, labels, boxes }: TensorPrompt, count: number): Token[][] {
  return Array.from({ length: count }, (_, p) => {
    const tokens = (points?.[p] ?? []).map(([x, y], i) => ({ x, y, label: pointLabel(labels![p]![i]!) }));
    const box = boxes?.[p];
    if (box) {
      const [x0, y0, x1, y1] = box;
      return [...tokens, { x: x0, y: y0, label: LABEL.boxStart }, { x: x1, y: y1, label: LABEL.boxEnd }];
    }
    return points ? [...tokens, { x: 0, y: 0, label: LABEL.padding }] : tokens;
  });
}

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
