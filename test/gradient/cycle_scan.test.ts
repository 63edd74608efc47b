import { describe, it } from 'vitest';
import type { Graph, Value } from '../../lib/graph/graph.js';
import { type CycleScanOptions, cycleScan } from '../../lib/graph/ops/cycle_scan.js';
import { cycleScanBlock } from '../../lib/model/cycle_scan_block.js';
import { expectClose, expectWithin } from '../support/compare.js';
import { permuted, reshaped } from '../support/layout.js';
import type { HostTensor } from '../support/reference.js';
import { type HostValues, host } from '../support/run.js';
import { differentiate } from './support/backward.js';
import { backward, checkGradients, values } from './support/check.js';
import { describeGradients, expectGradient } from './support/reference.js';

type Options = Pick<CycleScanOptions, 'segments' | 'softplus' | 'literal'>;
const apply = (options: Options) => (graph: Graph, v: Record<string, Value>) =>
  cycleScan(graph, v.u!, v.ssm!, v.aLog!, { ...options, dtBias: v.dtBias, d: v.d, gamma: v.gamma });

const scan = (batch: number, tokens: number, channels: number, states: number, readings: number) => ({
  u: values('u', [batch, tokens, channels], 2),
  ssm: values('ssm', [batch, tokens, channels + 2 * states]),
  aLog: values('aLog', [channels, states], 0.5),
  dtBias: values('dtBias', [channels], 1, -1),
  d: values('d', [channels]),
  gamma: values('gamma', [channels, readings, 1]),
});

// Exponentials of exponentials: the differences themselves are no better.
const CURVED = { step: 1 / 32, relL2: 2e-4 };

describe('gradients of the cycle scan', () => {
  it.each([1, 2, 3, 4])('%i readings', async (readings) => {
    await checkGradients(scan(2, 5, 2, 3, readings), apply({ segments: [5] }), CURVED);
  });

  it('segments', async () => {
    await checkGradients(scan(1, 7, 3, 2, 3), apply({ segments: [4, 1, 2] }), CURVED);
  });

  it('without softplus', async () => {
    const inputs = { ...scan(1, 4, 3, 2, 2), dtBias: values('dtBias', [3], 0.5, 2) };
    await checkGradients(inputs, apply({ segments: [4], softplus: false }), CURVED);
  });

  it('without bias, D and gamma', async () => {
    const { u, ssm, aLog } = scan(1, 6, 3, 2, 1);
    await checkGradients({ u, ssm, aLog }, apply({ segments: [6] }), CURVED);
  });

  it('of the literal scan are those of the collapsed one', async () => {
    const inputs = scan(2, 90, 20, 5, 3);
    const [collapsed, literal] = await Promise.all(
      [false, true].map((each) => backward(inputs, apply({ segments: [70, 20], literal: each }))),
    );
    for (const [name, { data }] of Object.entries(collapsed!.gradients))
      expectWithin(literal!.gradients[name]!.data, data, { relL2: 0 }, name);
  });
});

/** Rows side by side: (B, L, n) each. */
function joined(parts: readonly HostTensor[]): HostTensor {
  const [batch, tokens] = parts[0]!.shape as [number, number];
  const rows = Array.from({ length: batch * tokens }, (_, row) =>
    parts.flatMap(({ shape, data }) => [...data.subarray(row * shape[2]!, (row + 1) * shape[2]!)]),
  );
  return host([batch, tokens, rows[0]!.length], rows.flat());
}

/** Columns start … end of (B, L, n). */
const columns = ({ shape, data }: HostTensor, start: number, end: number): HostTensor =>
  host(
    [shape[0]!, shape[1]!, end - start],
    [...data].filter((_, i) => i % shape[2]! >= start && i % shape[2]! < end),
  );

describeGradients('selective_scan', (cases, tensors) => {
  it.each(cases)('$name', async (each) => {
    const get = (name: string) => tensors.get(`${each.name}/${name}`);
    // The reference has channels before tokens, and B and C as (B, 1, N, L).
    const tokensFirst = (name: string) => {
      const { shape, data } = get(name);
      return permuted({ shape: [shape[0]!, shape.at(-2)!, shape.at(-1)!], data }, [0, 2, 1]);
    };
    const channelsFirst = ({ data }: HostTensor, like: string) => {
      const { shape } = get(like);
      return permuted({ shape: [shape[0]!, shape.at(-1)!, shape.at(-2)!], data }, [0, 2, 1]);
    };
    const a = get('A');
    const inputs: HostValues = {
      u: tokensFirst('u'),
      ssm: joined(['dt', 'B', 'C'].map(tokensFirst)),
      aLog: host(
        a.shape,
        a.data.map((value) => Math.log(-value)),
      ),
    };
    if (each.inputs.includes('D')) inputs.d = get('D');
    if (each.inputs.includes('bias')) inputs.dtBias = get('bias');
    const segments = [inputs.u!.shape[1]!];
    const { softplus } = each.params;
    const scanned = apply({ segments, softplus });
    const { outputs, gradients } = await differentiate(inputs, (...args) => ({ y: scanned(...args) }), {
      seeds: { y: tokensFirst('dout') },
    });
    expectClose(channelsFirst(outputs.y!, 'y').data, get('y').data, each.fp32_vs_fp64.y!, 'y');
    const [channels, states] = a.shape as [number, number];
    const check = (name: string, actual: HostTensor) => expectGradient(each, tensors, name, actual);
    const { u, ssm, aLog, d, dtBias } = gradients;
    check('u', channelsFirst(u!, 'u'));
    check('dt', channelsFirst(columns(ssm!, 0, channels), 'dt'));
    check('B', channelsFirst(columns(ssm!, channels, channels + states), 'B'));
    check('C', channelsFirst(columns(ssm!, channels + states, channels + 2 * states), 'C'));
    check(
      'A',
      host(
        a.shape,
        aLog!.data.map((value, i) => value / a.data[i]!),
      ),
    );
    if (d) check('D', d);
    if (dtBias) check('bias', dtBias);
  });
});

describeGradients('mamba', (cases, tensors) => {
  it.each(cases)('$name', async (each) => {
    const get = (name: string) => tensors.get(`${each.name}/${name}`);
    const { batch, embed_dim, state_dim: stateDim, extend_ratio: cycles, tokens, split } = each.params;
    const shape = [batch, tokens, embed_dim];
    const weights = Object.fromEntries(each.weights.map((name) => [`mamba.${name}`, get(`w.${name}`)]));
    const options = { stateDim, cycles, segments: split ?? [tokens], compute: 'f32' } as const;
    const { outputs, gradients } = await differentiate(
      { x: reshaped(get('x'), shape) },
      (graph, { x }) => ({ y: cycleScanBlock(graph, 'mamba', x!, options) }),
      { weights, seeds: { y: reshaped(get('dout'), shape) } },
    );
    expectClose(outputs.y!.data, get('out').data, each.fp32_vs_fp64.out!, 'out');
    expectGradient(each, tensors, 'x', gradients.x);
    for (const name of each.weights) expectGradient(each, tensors, `w.${name}`, gradients[`mamba.${name}`]);
  });
});
