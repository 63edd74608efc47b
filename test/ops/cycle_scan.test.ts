import { describe, expect, it } from 'vitest';
import { type CycleScanOptions, cycleScan } from '../../lib/graph/ops/cycle_scan.js';
import { expectClose, expectRounded } from '../support/compare.js';
import { errorOf } from '../support/errors.js';
import { item, permuted } from '../support/layout.js';
import { generate, type HostTensor, HostTensors, opCases } from '../support/reference.js';
import { host, type RunOptions, roundedToBf16, runOne } from '../support/run.js';

interface Scan {
  u: HostTensor;
  ssm: HostTensor;
  aLog: HostTensor;
  dtBias?: HostTensor;
  d?: HostTensor;
  gamma?: HostTensor;
}

type Options = Omit<CycleScanOptions, 'dtBias' | 'd' | 'gamma' | 'segments'> & { segments?: number[] };

const apply = (
  { u, ssm, ...weights }: Scan,
  { segments = [u.shape[1]!], ...options }: Options = {},
  how: RunOptions = {},
): Promise<HostTensor> => {
  const constants = Object.fromEntries(Object.entries(weights).filter(([, value]) => value !== undefined));
  return runOne(
    { u, ssm },
    (graph, v) =>
      cycleScan(graph, v.u!, v.ssm!, v.aLog!, {
        ...options,
        segments,
        dtBias: v.dtBias,
        d: v.d,
        gamma: v.gamma,
      }),
    { ...how, constants },
  );
};

/** The paper's definition in double precision: the sequence read R times in a row, the state carried on. */
function expected({ u, ssm, aLog, dtBias, d, gamma }: Scan, segments: number[]): Float64Array {
  const [batch, tokens, channels] = u.shape as [number, number, number];
  const states = aLog.shape[1]!;
  const cycles = gamma?.shape[1] ?? 1;
  const width = channels + 2 * states;
  const out = new Float64Array(u.data.length);
  for (let b = 0; b < batch; b++) {
    for (let c = 0; c < channels; c++) {
      let start = 0;
      for (const length of segments) {
        const state = new Float64Array(states);
        for (let r = 0; r < cycles; r++) {
          for (let t = start; t < start + length; t++) {
            const at = (b * tokens + t) * channels + c;
            const row = ssm.data.subarray((b * tokens + t) * width, (b * tokens + t + 1) * width);
            const x = row[c]! + (dtBias?.data[c] ?? 0);
            const delta = x > 20 ? x : Math.log1p(Math.exp(x));
            let y = (d?.data[c] ?? 0) * u.data[at]!;
            for (let n = 0; n < states; n++) {
              const a = -Math.exp(aLog.data[c * states + n]!);
              state[n] = Math.exp(delta * a) * state[n]! + delta * row[channels + n]! * u.data[at]!;
              y += row[channels + states + n]! * state[n]!;
            }
            out[at] = out[at]! + (gamma?.data[c * cycles + r] ?? 1) * y;
          }
        }
        start += length;
      }
    }
  }
  return out;
}

/** Operands with Δ from about 0.001 to 0.1, as in trained models. */
const scan = (
  batch: number,
  tokens: number,
  channels: number,
  states: number,
  cycles: number,
): Required<Scan> => ({
  u: generate({ name: 'u', shape: [batch, tokens, channels], scale: 2 }),
  ssm: generate({ name: 'ssm', shape: [batch, tokens, channels + 2 * states], scale: 1 }),
  aLog: generate({
    name: 'aLog',
    shape: [channels, states],
    scale: 0.2,
    offset_table: Array.from({ length: states }, (_, n) => Math.log(n + 1)),
  }),
  dtBias: generate({ name: 'dtBias', shape: [channels], offset: -4.58, scale: 2.33 }),
  d: generate({ name: 'd', shape: [channels], offset: 1, scale: 0.3 }),
  gamma: generate({ name: 'gamma', shape: [channels, cycles, 1], offset: 0.5, scale: 0.5 }),
});

describe('cycle_scan', async () => {
  const tensors = await HostTensors.load('ops/selective_scan.safetensors');

  it.each(opCases('selective_scan'))(
    'selective scan of the reference, $name',
    async ({ name, params, inputs, fp32_vs_fp64 }) => {
      const get = (tensor: string) => tensors.get(`${name}/${tensor}`);
      const tokensFirst = (tensor: string) => permuted(get(tensor), [0, 2, 1]);
      const [u, dt] = [tokensFirst('u'), tokensFirst('dt')];
      const [b, c] = ['B', 'C'].map((matrix) => {
        const { shape, data } = get(matrix);
        return permuted({ shape: [shape[0]!, shape[2]!, shape[3]!], data }, [0, 2, 1]);
      }) as [HostTensor, HostTensor];
      const rows = [dt, b, c].map(({ data, shape }) => (row: number) => [
        ...data.subarray(row * shape[2]!, (row + 1) * shape[2]!),
      ]);
      const count = u.shape[0]! * u.shape[1]!;
      const joined = Array.from({ length: count }, (_, row) => rows.flatMap((part) => part(row))).flat();
      const ssm = host([u.shape[0]!, u.shape[1]!, joined.length / count], joined);
      const a = get('A');
      const optional = (tensor: string) => (inputs.includes(tensor) ? get(tensor) : undefined);
      const operands = {
        u,
        ssm,
        aLog: host(
          a.shape,
          a.data.map((value) => Math.log(-value)),
        ),
        d: optional('D'),
        dtBias: optional('bias'),
      };
      const y = await apply(operands, { softplus: params.softplus });
      expectClose(permuted(y, [0, 2, 1]).data, get('y').data, fp32_vs_fp64.y!);
    },
  );

  const sizes: [batch: number, tokens: number, channels: number, states: number, cycles: number][] = [
    [1, 1, 1, 1, 1],
    [1, 1, 5, 3, 4],
    [2, 37, 24, 32, 3],
    [1, 300, 16, 16, 3],
    [3, 11, 33, 5, 2],
    [1, 129, 96, 8, 3],
    [1, 2100, 7, 4, 3],
  ];

  it.each(sizes)('batch %i, %i tokens, %i channels, %i states, %i readings', async (...size) => {
    const operands = scan(...size);
    const want = expected(operands, [size[1]]);
    expectClose((await apply(operands)).data, want, {}, 'collapsed');
    expectClose((await apply(operands, { literal: true })).data, want, {}, 'literal');
  });

  it.each([true, false])('scans each segment from a zero state (literal %s)', async (literal) => {
    const operands = scan(2, 60, 20, 16, 3);
    const segments = [41, 1, 18];
    expectClose((await apply(operands, { segments, literal })).data, expected(operands, segments), {});
  });

  it('needs neither bias, nor skip, nor weights of readings', async () => {
    const { u, ssm, aLog } = scan(1, 50, 18, 16, 1);
    const sparse = {
      u,
      ssm: host(
        ssm.shape,
        ssm.data.map((value) => value - 2),
      ),
      aLog,
    };
    expectClose((await apply(sparse)).data, expected(sparse, [50]), {});
  });

  it('remembers for thousands of tokens where Δ is tiny, forgets at once where it is large', async () => {
    for (const offset of [-12, 3, 25]) {
      const operands = {
        ...scan(1, 900, 17, 6, 3),
        dtBias: generate({ name: 'dt', shape: [17], offset, scale: 1 }),
      };
      expectClose((await apply(operands)).data, expected(operands, [900]), {}, `Δ + ${offset}`);
    }
  });

  it('keeps an f32 state in bf16', async () => {
    const operands = scan(1, 500, 32, 16, 3);
    const rounded = { ...operands, u: roundedToBf16(operands.u), ssm: roundedToBf16(operands.ssm) };
    const wide = await apply(operands, { dtype: 'f32' }, { dtype: 'bf16' });
    expectClose(wide.data, expected(rounded, [500]), {});
    expectRounded((await apply(operands, {}, { dtype: 'bf16' })).data, expected(rounded, [500]));
  });

  it('gives each item of a batch what it gets alone', async () => {
    const operands = scan(3, 40, 24, 16, 3);
    const together = await apply(operands);
    for (let i = 0; i < 3; i++) {
      const alone = await apply({ ...operands, u: item(operands.u, i), ssm: item(operands.ssm, i) });
      expectClose(alone.data, item(together, i).data, {});
    }
  });

  it.each([
    ['another number of channels in a_log', { aLog: [5, 3] }, 'a_log f32 [5, 3]'],
    ['ssm of another width', { ssm: [2, 6, 11] }, 'ssm f32 [2, 6, 11]'],
    ['ssm of another length', { ssm: [2, 5, 10] }, 'ssm f32 [2, 5, 10]'],
    ['a bias of another length', { dtBias: [3] }, 'dt_bias f32 [3]'],
    ['gamma of two axes', { gamma: [4, 3] }, 'gamma f32 [4, 3]'],
  ])('refuses %s', async (_, wrong: Record<string, number[]>, actual) => {
    const shapes = { u: [2, 6, 4], ssm: [2, 6, 10], aLog: [4, 3], ...wrong };
    const operands = Object.fromEntries(
      Object.entries(shapes).map(([name, shape]) => [name, generate({ name, shape })]),
    ) as unknown as Scan;
    const error = await errorOf(() => apply(operands));
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain(actual);
  });

  it('refuses segments that are not all tokens', async () => {
    const error = await errorOf(() => apply(scan(1, 10, 4, 3, 1), { segments: [4, 5] }));
    expect(error.code).toBe('ERR_SHAPE');
    expect(error.message).toContain('segments that sum to 10');
  });
});
