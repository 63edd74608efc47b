import { LABEL } from '../model/prompt_encoder.js';
import type { DecoderConfig } from '../weights/config.js';

/** How many tokens programs are compiled for: multiples of this; what is left over is masked out exactly. */
export const TOKEN_BUCKET = 8;

/** One token of a prompt, in pixels of the model's input. */
export interface PromptToken {
  x: number;
  y: number;
  label: number;
}

/** Prompts laid out as the decoder takes them. */
export interface PromptArrays {
  count: number;
  /** Per prompt: the longest one's, up to the bucket. */
  tokens: number;
  points: Float32Array;
  labels: Float32Array;
  /** Tokens of each prompt. */
  entries: readonly number[];
  /** The same with the decoder's own: all that count in its attention. */
  lengths: Int32Array;
}

/** SAM's PromptEncoder: trained so, points without a box are followed by one that is none. */
export const promptTokens = (
  points: readonly PromptToken[] | undefined,
  corners: readonly PromptToken[] | undefined,
): PromptToken[] => [
  ...(points ?? []),
  ...(corners ?? (points ? [{ x: 0, y: 0, label: LABEL.padding }] : [])),
];

/** The tokens of a box from [x0, y0] to [x1, y1]. */
export const boxTokens = (x0: number, y0: number, x1: number, y1: number): PromptToken[] => [
  { x: x0, y: y0, label: LABEL.boxStart },
  { x: x1, y: y1, label: LABEL.boxEnd },
];

/** Token lists of any lengths side by side, filled up to a bucket with padding that the decoder masks out. */
export function arrange(
  lists: readonly (readonly PromptToken[])[],
  { multimaskOutputs }: Pick<DecoderConfig, 'multimaskOutputs'>,
): PromptArrays {
  // One for the predicted IoU, one for each mask.
  const ownTokens = 2 + multimaskOutputs;
  const longest = lists.reduce((most, list) => Math.max(most, list.length), 1);
  const tokens = Math.ceil(longest / TOKEN_BUCKET) * TOKEN_BUCKET;
  const points = new Float32Array(lists.length * tokens * 2);
  const labels = new Float32Array(lists.length * tokens).fill(LABEL.padding);
  lists.forEach((list, p) => {
    list.forEach(({ x, y, label }, i) => {
      points.set([x, y], (p * tokens + i) * 2);
      labels[p * tokens + i] = label;
    });
  });
  const entries = lists.map(({ length }) => length);
  const lengths = Int32Array.from(entries, (count) => ownTokens + count);
  return { count: lists.length, tokens, points, labels, entries, lengths };
}
