import { HRSAM } from '../predictor/hrsam.js';

/** What a sound GPU's answers may differ from the CPU's in f32, as relative L2: some ten times what rounding makes of it. */
const LIMITS = { f32: 1e-4, bf16: 1.5e-2 } as const;

export interface DeviceTest {
  ms: number;
  /** Relative L2 between the device's answers in f32 and the CPU's. */
  f32: number;
  /** The same of its answers in bf16. */
  bf16: number;
}

/** A small untrained model on the CPU: encodes a square, segments it, and checks that the answer is sound and repeats. */
export async function testCpu(): Promise<{ ms: number }> {
  const begin = performance.now();
  using model = await HRSAM.load('random:hrsam-tiny', { device: 'cpu' });
  await answersOf(model, 96);
  return { ms: since(begin) };
}

/**
 * A test of devices: the model included (or other weights) on each, in f32 and bf16, beside the CPU, which answers once for
 * all of them. It throws an Error where answers are further apart than rounding explains, or other in a second run.
 */
export function deviceTest(weights?: string, size = 512): (device: string) => Promise<DeviceTest> {
  const answer = async (device: string, dtype: keyof typeof LIMITS) => {
    using model = await HRSAM.load(weights, { device, dtype });
    return await answersOf(model, size); // before the model goes
  };
  let expected: Promise<Answers> | undefined;
  return async (device) => {
    expected ??= answer('cpu', 'f32');
    const right = await expected;
    const begin = performance.now();
    const test = async (dtype: keyof typeof LIMITS) => apart(await answer(device, dtype), right, dtype);
    const [f32, bf16] = [await test('f32'), await test('bf16')];
    return { ms: since(begin), f32, bf16 };
  };
}

interface Answers {
  embedding: Float32Array;
  logits: Float32Array;
}

/** What a model makes of a square. */
async function answersOf(model: HRSAM, side: number): Promise<Answers> {
  const inside = (at: number) => at > side / 3 && at < (2 * side) / 3;
  const data = Uint8Array.from({ length: side * side * 3 }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % side, Math.floor(i / 3 / side)];
    return (inside(x) && inside(y) ? 180 : 40) + ((3 * x + 5 * y + 7 * (i % 3)) % 40);
  });
  const answer = async (): Promise<Answers> => {
    using image = await model.encode(
      { data, width: side, height: side, channels: 3 },
      { size: side, coarseToFine: false },
    );
    const [mask] = await image.segment({ points: [[side / 2, side / 2]] });
    if (!Number.isFinite(mask!.score)) throw new Error('the decoder gave values that are not finite');
    return { embedding: Float32Array.from(await image.embedding.data()), logits: mask!.logits.data };
  };
  // The second time as it is done from then on: by a recorded program, where the device has such.
  const [first, second] = [await answer(), await answer()];
  for (const part of ['embedding', 'logits'] as const)
    if (first[part].some((value, i) => value !== second[part][i]))
      throw new Error(`two runs gave different values (${part})`);
  return second;
}

/** The larger of two differences: embeddings' and logits'. */
export function apart(actual: Answers, expected: Answers, dtype: keyof typeof LIMITS): number {
  const differences = (['embedding', 'logits'] as const).map((part) => {
    const difference = relativeL2(actual[part], expected[part]);
    if (difference <= LIMITS[dtype]) return difference;
    const found = `${part} in ${dtype}: ${difference.toPrecision(2)} apart from the CPU's`;
    throw new Error(`${found} (relative L2; at most ${LIMITS[dtype]} is sound)`);
  });
  return Math.max(...differences);
}

function relativeL2(actual: Float32Array, expected: Float32Array): number {
  let [squares, norm] = [0, 0];
  for (const [i, value] of expected.entries()) {
    squares += (actual[i]! - value) ** 2;
    norm += value ** 2;
  }
  return Math.sqrt(squares / norm);
}

const since = (begin: number): number => Math.round(performance.now() - begin);
