import { type Build, program } from '../../graph/evaluate.js';
import { attention } from '../../graph/ops/attention.js';
import { cycleScan } from '../../graph/ops/cycle_scan.js';
import { linear } from '../../graph/ops/linear.js';
import { windowAttention } from '../../graph/ops/window_attention.js';
import type { Device } from '../../runtime/device.js';
import { elementCount, type Shape } from '../../runtime/dtype.js';
import { Owned } from '../../runtime/owned.js';
import type { Tensors } from '../../runtime/program.js';
import { bf16Bits } from '../../weights/dtypes.js';
import { fillTensor } from '../../weights/random.js';
import { type BenchRow, measure, type Subject } from './measure.js';

type Compute = 'f32' | 'bf16';

/** The base model at 1024²: 64 × 64 tokens. */
const TOKENS = 4096;
const CHANNELS = 768;
const HEADS = 12;
const HEAD_DIM = CHANNELS / HEADS;
const WINDOW = 16;
const STATES = 32;

/** Times a few ops on generated tensors; `shapes` of inputs and constants, whose types are `dtype` unless a weight's. */
async function timeOps(
  device: Device,
  subject: Omit<Subject, 'run' | 'device'>,
  inputs: Record<string, Shape>,
  constants: Record<string, Shape>,
  build: Build,
): Promise<BenchRow> {
  using owned = new Owned();
  const make = (shapes: Record<string, Shape>, dtype: Compute): Tensors =>
    Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => {
        const values = fillTensor(name, { offset: 0, scale: 0.5 }, new Float32Array(elementCount(shape)));
        const data = dtype === 'f32' ? values : Uint16Array.from(values, bf16Bits);
        return [name, owned.add(device.tensor(shape, dtype, data))];
      }),
    );
  const given = make(inputs, subject.dtype);
  const compiled = owned.add(await program(device, given, build, { constants: make(constants, 'f32') }));
  const into = await compiled.run(given);
  for (const tensor of Object.values(into)) owned.add(tensor);
  const run = async () => {
    await compiled.run(given, { into });
  };
  return await measure({ ...subject, device, run });
}

const row = (what: string, dtype: Compute, size: string, flops: number, note?: string) => ({
  what,
  dtype,
  size,
  batch: 1,
  flops,
  note,
});

/** The four linears of a block, with what is fused into them. */
export async function gemmRows(device: Device, dtype: Compute): Promise<BenchRow[]> {
  const layers = [
    { what: 'linear qkv', outer: 3 * CHANNELS, inner: CHANNELS },
    { what: 'linear proj + residual', outer: CHANNELS, inner: CHANNELS, residual: true },
    { what: 'linear fc1 + GELU', outer: 4 * CHANNELS, inner: CHANNELS, activation: 'gelu' },
    { what: 'linear fc2 + residual', outer: CHANNELS, inner: 4 * CHANNELS, residual: true },
  ] as const;
  const rows: BenchRow[] = [];
  for (const { what, outer, inner, ...fused } of layers) {
    const residual = 'residual' in fused;
    const inputs = { x: [TOKENS, inner], ...(residual && { residual: [TOKENS, outer] }) };
    const flops = 2 * TOKENS * outer * inner;
    rows.push(
      await timeOps(
        device,
        row(what, dtype, `${TOKENS} x ${inner} -> ${outer}`, flops),
        inputs,
        { weight: [outer, inner], bias: [outer] },
        (graph, { x, weight, bias, residual }) => ({
          y: linear(graph, x!, weight!, {
            bias,
            residual,
            activation: 'activation' in fused ? fused.activation : 'none',
          }),
        }),
      ),
    );
  }
  return rows;
}

/** Window attention, plain and shifted, against its two matrix products alone; general attention over all tokens. */
export async function attentionRows(device: Device, dtype: Compute): Promise<BenchRow[]> {
  const side = Math.sqrt(TOKENS);
  const flops = 4 * TOKENS * WINDOW ** 2 * CHANNELS;
  const products = await timeOps(
    device,
    row(
      'window attention: its two products',
      dtype,
      `${TOKENS} tokens`,
      flops,
      'the linears’ micro-kernel, nothing else',
    ),
    { q: [TOKENS * HEADS, HEAD_DIM] },
    { k: [WINDOW ** 2, HEAD_DIM], v: [HEAD_DIM, WINDOW ** 2] },
    // In pieces, so that the logits stay in the cache as they do inside the attention.
    (graph, { q, k, v }) =>
      Object.fromEntries(
        Array.from({ length: 24 }, (_, i) => {
          const rows = (TOKENS * HEADS) / 24;
          const logits = linear(graph, graph.rows(q!, i * rows, (i + 1) * rows), k!);
          return [`o${i}`, linear(graph, logits, v!)];
        }),
      ),
  );
  const rows = [products];
  for (const shifted of [false, true]) {
    const timed = await timeOps(
      device,
      row(`window attention, ${shifted ? 'shifted' : 'plain'}`, dtype, `${TOKENS} tokens`, flops),
      { qkv: [1, TOKENS, 3 * CHANNELS], pad: [1, 3 * CHANNELS] },
      {},
      (graph, { qkv, pad }) => ({
        y: windowAttention(graph, qkv!, {
          heads: HEADS,
          window: WINDOW,
          grids: [[side, side]],
          rope: { theta: 10000, scale: 0.5 },
          before: shifted ? WINDOW / 2 : 0,
          pad,
        }),
      }),
    );
    rows.push({ ...timed, note: `${(timed.median / products.median).toFixed(2)} x its two products` });
  }
  const general = row('attention', dtype, `${TOKENS} x ${TOKENS}`, 4 * TOKENS * TOKENS * CHANNELS);
  rows.push(
    await timeOps(device, general, { qkv: [1, TOKENS, 3 * CHANNELS] }, {}, (graph, { qkv }) => ({
      y: attention(graph, qkv!, undefined, { heads: HEADS }),
    })),
  );
  return rows;
}

/** The cycle scan: one reading, three at the price of one, three literally. */
export async function scanRows(device: Device, dtype: Compute): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const { what, cycles, literal } of [
    { what: 'cycle scan, R = 1', cycles: 1, literal: false },
    { what: 'cycle scan, R = 3', cycles: 3, literal: false },
    { what: 'cycle scan, R = 3, literal', cycles: 3, literal: true },
  ]) {
    const timed = await timeOps(
      device,
      // FLOPs say little about a scan, which waits for exponentials.
      { what, dtype, size: `${TOKENS} x ${CHANNELS} x ${STATES}`, batch: 1 },
      { u: [1, TOKENS, CHANNELS], ssm: [1, TOKENS, CHANNELS + 2 * STATES] },
      { a: [CHANNELS, STATES], bias: [CHANNELS], d: [CHANNELS], gamma: [CHANNELS, cycles, 1] },
      (graph, { u, ssm, a, bias, d, gamma }) => ({
        y: cycleScan(graph, u!, ssm!, a!, {
          dtBias: bias,
          d,
          gamma,
          segments: [TOKENS],
          literal,
          dtype: 'f32',
        }),
      }),
    );
    const first = rows[0];
    rows.push({ ...timed, note: first && `${(timed.median / first.median).toFixed(2)} x R = 1` });
  }
  return rows;
}
