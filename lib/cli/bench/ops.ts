import { program } from '../../graph/evaluate.js';
import { add } from '../../graph/ops/add.js';
import { attention } from '../../graph/ops/attention.js';
import { cycleScan } from '../../graph/ops/cycle_scan.js';
import { layerNorm } from '../../graph/ops/layer_norm.js';
import { linear } from '../../graph/ops/linear.js';
import { windowAttention } from '../../graph/ops/window_attention.js';
import type { Device } from '../../runtime/device.js';
import { byteCount } from '../../runtime/dtype.js';
import { Owned } from '../../runtime/owned.js';
import { ROPE_THETA } from '../../weights/config.js';
import { type BenchRow, measure } from './measure.js';
import { type Compute, timeOps } from './repeat.js';

/** The base model at 1024²: 64 × 64 tokens. */
const TOKENS = 4096;
const CHANNELS = 768;
const HEADS = 12;
const HEAD_DIM = CHANNELS / HEADS;
const WINDOW = 16;
const STATES = 32;

/** So many that their 99th percentile means something. */
const CALLS = 2000;

/** Images at once: a GPU is not filled by the tokens of one. */
const batches = (device: Device): readonly number[] => (device.kind === 'cuda' ? [1, 16] : [1]);

const row = (what: string, dtype: Compute, size: string, batch: number, flops?: number, note?: string) => ({
  what,
  dtype,
  size,
  batch,
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
    for (const batch of batches(device)) {
      const count = TOKENS * batch;
      const inputs = { x: [count, inner], ...('residual' in fused && { residual: [count, outer] }) };
      rows.push(
        await timeOps(
          device,
          row(what, dtype, `${count} x ${inner} -> ${outer}`, batch, 2 * count * outer * inner),
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
  }
  return rows;
}

/** Window attention, plain and shifted, against its two matrix products alone; general attention over all tokens. */
export async function attentionRows(device: Device, dtype: Compute): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const batch of batches(device)) rows.push(...(await windowAttentionRows(device, dtype, batch)));
  for (const tokens of device.kind === 'cuda' ? [TOKENS, 4 * TOKENS] : [TOKENS]) {
    const general = row('attention', dtype, `${tokens} x ${tokens}`, 1, 4 * tokens * tokens * CHANNELS);
    rows.push(
      await timeOps(device, general, { qkv: [1, tokens, 3 * CHANNELS] }, {}, (graph, { qkv }) => ({
        y: attention(graph, qkv!, undefined, { heads: HEADS }),
      })),
    );
  }
  return rows;
}

async function windowAttentionRows(device: Device, dtype: Compute, batch: number): Promise<BenchRow[]> {
  const side = Math.sqrt(TOKENS);
  const size = `${TOKENS} tokens`;
  const flops = 4 * batch * TOKENS * WINDOW ** 2 * CHANNELS;
  const products = await timeOps(
    device,
    row('window attention: its two products', dtype, size, batch, flops, 'as linears, nothing else'),
    { q: [batch * TOKENS * HEADS, HEAD_DIM] },
    { k: [WINDOW ** 2, HEAD_DIM], v: [HEAD_DIM, WINDOW ** 2] },
    // In pieces, so that the logits stay in the cache as they do inside the attention.
    (graph, { q, k, v }) =>
      Object.fromEntries(
        Array.from({ length: 24 }, (_, i) => {
          const rows = (batch * TOKENS * HEADS) / 24;
          const logits = linear(graph, graph.rows(q!, i * rows, (i + 1) * rows), k!);
          return [`o${i}`, linear(graph, logits, v!)];
        }),
      ),
  );
  const rows = [products];
  for (const shifted of [false, true]) {
    const timed = await timeOps(
      device,
      row(`window attention, ${shifted ? 'shifted' : 'plain'}`, dtype, size, batch, flops),
      { qkv: [batch, TOKENS, 3 * CHANNELS], pad: [1, 3 * CHANNELS] },
      {},
      (graph, { qkv, pad }) => ({
        y: windowAttention(graph, qkv!, {
          heads: HEADS,
          window: WINDOW,
          grids: [[side, side]],
          rope: { theta: ROPE_THETA, scale: 0.5 },
          before: shifted ? WINDOW / 2 : 0,
          pad,
        }),
      }),
    );
    rows.push({ ...timed, note: `${(timed.median / products.median).toFixed(2)} x its two products` });
  }
  return rows;
}

/** The cycle scan: one reading, three at the price of one, three literally. */
export async function scanRows(device: Device, dtype: Compute): Promise<BenchRow[]> {
  const rows: BenchRow[] = [];
  for (const batch of batches(device)) {
    let first: BenchRow | undefined;
    for (const { what, cycles, literal } of [
      { what: 'cycle scan, R = 1', cycles: 1, literal: false },
      { what: 'cycle scan, R = 3', cycles: 3, literal: false },
      { what: 'cycle scan, R = 3, literal', cycles: 3, literal: true },
    ]) {
      const timed = await timeOps(
        device,
        // FLOPs say little about a scan, which waits for exponentials.
        row(what, dtype, `${TOKENS} x ${CHANNELS} x ${STATES}`, batch),
        { u: [batch, TOKENS, CHANNELS], ssm: [batch, TOKENS, CHANNELS + 2 * STATES] },
        { a: [CHANNELS, STATES], bias: [CHANNELS], d: [CHANNELS], gamma: [CHANNELS, cycles, 1] },
        (graph, { u, ssm, a, bias, d, gamma }) => ({
          y: cycleScan(graph, u!, ssm!, a!, {
            dtBias: bias,
            d,
            gamma,
            segments: [TOKENS],
            literal,
            fast: dtype !== 'f32',
            dtype: 'f32',
          }),
        }),
      );
      rows.push({ ...timed, note: first && `${(timed.median / first.median).toFixed(2)} x R = 1` });
      first ??= timed;
    }
  }
  return rows;
}

/** What waits for memory. The sum of two tensors that no cache holds is the ceiling that the others are compared with. */
export async function memoryRows(device: Device, dtype: Compute): Promise<BenchRow[]> {
  const large = [(device.kind === 'cuda' ? 64 : 8) * TOKENS, CHANNELS];
  const bytes = 3 * byteCount(large, dtype);
  const sum = await timeOps(
    device,
    { ...row('sum of two tensors', dtype, large.join(' x '), 1), rotate: true },
    { a: large, b: large },
    {},
    (graph, { a, b }) => ({ y: add(graph, a!, b!) }),
  );
  const bandwidth = bytes / sum.median / 1e6;
  const rows: BenchRow[] = [{ ...sum, gbps: bandwidth, note: 'its GB/s are the ceiling of those below' }];
  for (const batch of batches(device)) {
    const shape = [batch * TOKENS, CHANNELS];
    rows.push(
      await timeOps(
        device,
        {
          ...row('LayerNorm', dtype, shape.join(' x '), batch),
          traffic: { bytes: 2 * byteCount(shape, dtype), bandwidth },
          rotate: true,
        },
        { x: shape },
        { weight: [CHANNELS], bias: [CHANNELS] },
        (graph, { x, weight, bias }) => ({ y: layerNorm(graph, x!, weight!, bias!) }),
      ),
    );
  }
  return rows;
}

/** The least that a call costs: a program of one addition, from JavaScript to the device and back. */
export async function callRows(device: Device, dtype: Compute): Promise<BenchRow[]> {
  using owned = new Owned();
  const x = owned.add(device.tensor([1], dtype, dtype === 'f32' ? new Float32Array(1) : new Uint16Array(1)));
  const compiled = owned.add(await program(device, { x }, (graph, { x }) => ({ y: add(graph, x!, x!) })));
  const into = await compiled.run({ x });
  owned.add(into.y!);
  const run = async () => {
    await compiled.run({ x }, { into });
  };
  const call = row('call from JavaScript', dtype, '1 number', 1, undefined, 'a program of one addition');
  return [await measure({ ...call, device, maxRuns: CALLS, run })];
}
