import sharp from 'sharp';
import type { Graph, Value } from '../../lib/graph/graph.js';
import type { ComputeType } from '../../lib/model/layers.js';
import { encoder, maskLogits } from '../../lib/model/model.js';
import { LABEL } from '../../lib/model/prompt_encoder.js';
import { configFromAuthors } from '../../lib/weights/authors.js';
import type { ModelConfig } from '../../lib/weights/config.js';
import { toInternalName } from '../../lib/weights/names.js';
import type { Noise } from './compare.js';
import { reshaped } from './layout.js';
import { fixture, generate, type HostTensor, readJson, type TensorRule } from './reference.js';
import { device, type HostValues, host, runModel, WeightsOnDevice } from './run.js';

/** Prompts as the reference writes them. */
export interface ReferencePrompt {
  name: string;
  points?: number[][][] | null;
  labels?: number[][] | null;
  boxes?: number[][] | null;
  mask_logits?: TensorRule | { from_prompt: string; mask_index: number };
  mask_input?: TensorRule;
}

/** case.json of a pipeline of HRSAM. */
export interface ModelCase {
  name: string;
  config_name: string;
  input: TensorRule | { image: string };
  prompts: ReferencePrompt[];
  tensors_expected: Record<string, number[]>;
  fp32_vs_fp64: Record<string, Noise>;
}

export interface Model {
  config: ModelConfig;
  weights: WeightsOnDevice;
}

const opened = new Map<string, Model>();

/** A model of the reference's manifest with its generated weights; kept for the tests of a file. */
export function hrsamModel(name: string, parts = /./): Model {
  let model = opened.get(name);
  if (!model) {
    const { tensors, ...config } = readJson('manifest.json').configs[name];
    delete config.parameters;
    const weights = (tensors as TensorRule[]).filter((rule) => parts.test(rule.name));
    model = { config: configFromAuthors(config), weights: weightsOf(weights) };
    opened.set(name, model);
  }
  return model;
}

/** The model that a case of Segment Anything describes: its encoder, its decoder, or both. */
export function samModel({
  model: { config, tensors },
}: {
  model: { config: unknown; tensors: TensorRule[] };
}): Model {
  return { config: configFromAuthors(config), weights: weightsOf(tensors) };
}

function* generated(rules: readonly TensorRule[]) {
  for (const rule of rules) yield [toInternalName(rule.name), generate(rule)] as const;
}

const weightsOf = (rules: readonly TensorRule[]) => new WeightsOnDevice(generated(rules), device);

/** The normalised image of a case: generated, or a picture as RGB. */
export async function inputImage(
  { input }: Pick<ModelCase, 'input'>,
  { image: { mean, std } }: ModelConfig,
): Promise<HostTensor> {
  if ('name' in input) return generate(input);
  const { data, info } = await sharp(fixture(input.image)!)
    .removeAlpha()
    .raw()
    .toBuffer({ resolveWithObject: true });
  const plane = info.width * info.height;
  const values = Float32Array.from({ length: 3 * plane }, (_, i) => {
    const c = Math.floor(i / plane);
    return (data[(i % plane) * 3 + c]! - mean[c]!) / std[c]!;
  });
  return host([1, 3, info.height, info.width], values);
}

export interface EncodeOptions {
  compute?: ComputeType;
  trace?: readonly string[];
}

/** image (B, 3, H, W) → embedding (B, h, w, E) and the marks asked for. */
export async function encode(
  { config, weights }: Model,
  image: HostTensor,
  { compute = 'f32', trace }: EncodeOptions = {},
): Promise<HostValues & { embedding: HostTensor }> {
  const build = (graph: Graph, v: Record<string, Value>) => ({
    embedding: encoder(graph, v.image!, config, compute),
  });
  return (await runModel({ image }, weights, build, { trace })) as HostValues & { embedding: HostTensor };
}

export interface PromptTensors {
  points: HostTensor;
  labels: HostTensor;
  mask?: HostTensor;
  lengths?: HostTensor;
}

/** A user's point of another label than these keeps its bare position code, also where the number is a corner's. */
const pointLabel = (label: number): number =>
  [LABEL.padding, LABEL.background, LABEL.foreground].some((known) => known === label)
    ? label
    : LABEL.unknown;

/**
 * A prompt as the model takes it: box corners as points with labels 2 and 3, a padding point where there are points and
 * no box. Without any of them one token stands there and does not count.
 */
export function promptTensors(prompt: ReferencePrompt, ownTokens: number, mask?: HostTensor): PromptTensors {
  const { points, labels, boxes } = prompt;
  const count = points?.length ?? boxes?.length ?? 1;
  const rows = Array.from({ length: count }, (_, i) => {
    const given = (points?.[i] ?? []).map(([x, y], j) => [x!, y!, pointLabel(labels![i]![j]!)]);
    const [x0, y0, x1, y1] = boxes?.[i] ?? [];
    const end = boxes
      ? [
          [x0!, y0!, 2],
          [x1!, y1!, 3],
        ]
      : [[0, 0, -1]];
    return [...given, ...end];
  });
  const n = rows[0]!.length;
  const flat = rows.flat();
  return {
    points: host(
      [count, n, 2],
      flat.flatMap(([x, y]) => [x!, y!]),
    ),
    labels: host(
      [count, n],
      flat.map(([, , label]) => label!),
    ),
    ...(mask && { mask: reshaped(mask, [mask.shape[0]!, ...mask.shape.slice(-2)]) }),
    ...(!points && !boxes && { lengths: host([count], new Array(count).fill(ownTokens)) }),
  };
}

/** The mask prompt: generated, or a mask of an earlier prompt's result. */
export function maskPrompt(
  { mask_logits: given }: ReferencePrompt,
  earlier: Map<string, HostTensor>,
): HostTensor | undefined {
  if (given === undefined || 'name' in given) return given && generate(given);
  const { shape, data } = earlier.get(given.from_prompt)!;
  const [batch, masks, h, w] = shape as [number, number, number, number];
  const chosen = Array.from({ length: batch }, (_, b) => {
    const start = (b * masks + given.mask_index) * h * w;
    return [...data.subarray(start, start + h * w)];
  });
  return { shape: [batch, h, w], data: Float32Array.from(chosen.flat()) };
}

export interface DecodeOptions {
  trace?: readonly string[];
}

/** embedding (P or 1, h, w, E) and prompts → masks (P, M, 4h, 4w), ious (P, M) and the marks asked for. */
export async function decode(
  { config, weights }: Model,
  embedding: HostTensor,
  prompts: PromptTensors,
  { trace }: DecodeOptions = {},
): Promise<HostValues & { masks: HostTensor; ious: HostTensor }> {
  const inputs = Object.fromEntries(
    Object.entries({ embedding, ...prompts }).filter(([, value]) => value !== undefined),
  );
  const build = (graph: Graph, v: Record<string, Value>) => {
    const { masks, ious } = maskLogits(graph, v as unknown as Parameters<typeof maskLogits>[1], config);
    return { masks, ious };
  };
  const outputs = await runModel(inputs, weights, build, { trace, dtypes: { lengths: 'i32' } });
  return outputs as HostValues & { masks: HostTensor; ious: HostTensor };
}

/** Mask and IoU tokens that come before the prompts'. */
export const ownTokens = ({ decoder }: ModelConfig): number => decoder.multimaskOutputs + 2;
