import { describe, expect, it } from 'vitest';
import { evaluate, program } from '../../lib/graph/evaluate.js';
import type { Graph, Value } from '../../lib/graph/graph.js';
import { activation } from '../../lib/graph/ops/activation.js';
import { add } from '../../lib/graph/ops/add.js';
import { attention } from '../../lib/graph/ops/attention.js';
import { cycleScan } from '../../lib/graph/ops/cycle_scan.js';
import { depthToSpace } from '../../lib/graph/ops/depth_to_space.js';
import { depthwiseConv } from '../../lib/graph/ops/depthwise_conv.js';
import { layerNorm } from '../../lib/graph/ops/layer_norm.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { permute } from '../../lib/graph/ops/permute.js';
import { positionEncoding } from '../../lib/graph/ops/position_encoding.js';
import { slice } from '../../lib/graph/ops/slice.js';
import { windowAttention } from '../../lib/graph/ops/window_attention.js';
import { Device } from '../../lib/runtime/device.js';
import { toFloat32 } from '../../lib/weights/dtypes.js';
import { hasKernelsOnCpu, kernelsOnCpu } from '../support/kernels_on_cpu.js';
import { device } from '../support/run.js';

const f32 = (
  shape: number[],
  values: ArrayLike<number> = new Float32Array(shape.reduce((a, b) => a * b, 1)),
) => device.tensor(shape, 'f32', Float32Array.from(values));
const numbers = (length: number) => Float32Array.from({ length }, (_, i) => i);

describe('values without elements', () => {
  it('are computed in no time, however large their sides', async () => {
    const none = f32([1, 1e11, 1, 0]);
    const begin = performance.now();
    const { y } = await evaluate({ none }, (graph, v) => ({ y: depthToSpace(graph, v.none!, 1) }));
    const folded = await evaluate({ none }, (graph, v) => ({ y: depthToSpace(graph, v.w!, 1) }), {
      constants: { w: none },
    });
    expect(performance.now() - begin).toBeLessThan(2000);
    expect([y!.shape, folded.y!.shape]).toEqual([none.shape, none.shape]);
  });

  // Where nothing else has asked for scratch memory before.
  it.each<[string, Record<string, number[]>, (graph: Graph, v: Record<string, Value>) => Value]>([
    ['channels', { x: [1, 2, 2, 0], w: [0, 1, 3, 3] }, (graph, v) => depthwiseConv(graph, v.x!, v.w!)],
    ['features', { x: [2, 0] }, (graph, v) => positionEncoding(graph, v.x!, [3, 3])],
    ['positions', { x: [2, 8] }, (graph, v) => positionEncoding(graph, v.x!, [0, 0])],
  ])('may have no %s', async (_, shapes, build) => {
    const inputs = Object.fromEntries(Object.entries(shapes).map(([name, shape]) => [name, f32(shape)]));
    const { y } = await evaluate(inputs, (graph, v) => ({ y: build(graph, v) }));
    expect((await y!.data()).length).toBe(0);
  });
});

describe('memory', () => {
  it('of a residual is not taken over by a result of another type', async () => {
    const inputs = {
      x: device.tensor([4, 2], 'bf16', new Uint16Array(8)),
      w: device.tensor([2, 2], 'bf16', new Uint16Array(4)),
      r: f32([2, 2], [1, 2, 3, 4]),
    };
    const { y } = await evaluate(inputs, (graph, v) => {
      const residual = activation(graph, v.r!, 'relu');
      return { y: permute(graph, linear(graph, v.x!, v.w!, { residual, dtype: 'bf16' }), [1, 0]) };
    });
    const bytes = (await y!.data()) as Uint16Array;
    const found = toFloat32('BF16', new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength), 'y');
    expect([...found]).toEqual([1, 3, 1, 3, 2, 4, 2, 4]);
  });

  it('that was written to is packed anew, whoever still holds what it was', async () => {
    const x = f32([1, 2], [1, 1]);
    const w = f32([1, 2], [1, 2]);
    const build = (graph: Graph, v: Record<string, Value>) => ({
      y: linear(graph, v.x!, v.w!, { dtype: 'bf16' }),
    });
    const bf16 = device.tensor([1, 2], 'bf16', Uint16Array.of(0x3f80, 0x3f80));
    const sum = async (value: { data(): Promise<ArrayLike<number>> }) => (await value.data())[0]! << 16;
    const bits = (value: number) => new Int32Array(Float32Array.of(value).buffer)[0];
    const first = await program(device, { x: bf16 }, build, { constants: { w } });
    expect(await sum((await first.run({ x: bf16 })).y!)).toBe(bits(3));
    w.write(Float32Array.of(10, 20));
    expect(await sum((await evaluate({ x: bf16 }, build, { constants: { w } })).y!)).toBe(bits(30));
    const double = await program(device, { x }, (graph, v) => ({ y: activation(graph, v.x!, 'relu') }));
    await double.run({ x: f32([1, 2], [4, 5]) }, { into: { y: w } });
    expect(await sum((await evaluate({ x: bf16 }, build, { constants: { w } })).y!)).toBe(bits(9));
    first.dispose();
    expect(await sum((await evaluate({ x: bf16 }, build, { constants: { w } })).y!)).toBe(bits(9));
  });

  it('is packed for each shape that it is read in', async () => {
    const w = f32([25, 1, 3, 3], numbers(225));
    const inputs = {
      a: f32([1, 1, 1, 25], new Float32Array(25).fill(1)),
      b: f32([1, 1, 1, 9], new Float32Array(9).fill(1)),
    };
    const { b } = await evaluate(
      inputs,
      (graph, v) => ({
        a: depthwiseConv(graph, v.a!, v.w!),
        b: depthwiseConv(graph, v.b!, graph.reshape(v.w!, [9, 1, 5, 5])),
      }),
      { constants: { w } },
    );
    expect([...((await b!.data()) as Float32Array)]).toEqual(
      Array.from({ length: 9 }, (_, c) => 25 * c + 12),
    );
  });
});

describe('what cannot be', () => {
  const x = f32([1, 4, 4, 6]);
  it.each<[string, string, RegExp, (graph: Graph, x: Value) => Value]>([
    ['half a row of slice', 'ERR_SHAPE', /0.5/, (graph, v) => slice(graph, v, 1, 0.5, 1.5)],
    ['half a row', 'ERR_SHAPE', /0.5/, (graph, v) => graph.rows(v, 0.5, 1)],
    [
      'a shift backwards',
      'ERR_(SHAPE|ARGUMENT)',
      /./,
      (graph, v) =>
        windowAttention(graph, graph.reshape(v, [1, 16, 6]), {
          heads: 1,
          window: 2,
          grids: [[4, 4]],
          cyclicShift: -1,
        }),
    ],
    [
      'no options',
      'ERR_ARGUMENT',
      /attention: options; expected heads/,
      (graph, v) => attention(graph, v, undefined, undefined as never),
    ],
    [
      'no options of a scan',
      'ERR_ARGUMENT',
      /cycle_scan: options/,
      (graph, v) => cycleScan(graph, v, v, v, null as never),
    ],
    [
      'an attribute that is missing',
      'ERR_ARGUMENT',
      /^depth_to_space: block; expected a finite number; got undefined$/,
      (graph, v) => depthToSpace(graph, v, undefined as never),
    ],
    [
      'a misspelt option',
      'ERR_ARGUMENT',
      /unknown option.*got epsilon/,
      (graph, v) => layerNorm(graph, v, v, v, { epsilon: 1 } as never),
    ],
    [
      'a shape that is none',
      'ERR_ARGUMENT',
      /a list of sizes; got 16/,
      (graph, v) => graph.reshape(v, 16 as never),
    ],
  ])('is refused: %s', async (_, code, message, build) => {
    const refused = expect(evaluate({ x }, (graph, v) => ({ y: build(graph, v.x) })));
    await refused.rejects.toMatchObject({
      name: 'HrsamError',
      code: expect.stringMatching(code),
      message: expect.stringMatching(message),
    });
  });

  it('is refused: a constant that is no tensor', async () => {
    const w = { shape: [1], dtype: 'f32' } as never;
    await expect(evaluate({ x }, (_, v) => ({ y: v.x }), { constants: { w } })).rejects.toMatchObject({
      code: 'ERR_ARGUMENT',
      message: expect.stringContaining("constant 'w'"),
    });
  });

  it.runIf(hasKernelsOnCpu)('is refused: a constant or masks of another device', async () => {
    process.env.HRSAM_CUDA_LIBRARY ??= kernelsOnCpu;
    const [cpu, gpu] = [Device.open('cpu'), Device.open('cuda')];
    const numbers = (on: Device) => on.tensor([1], 'f32', Float32Array.of(1));
    for (const [here, there] of [
      [cpu, gpu],
      [gpu, cpu],
    ] as const) {
      const constants = { w: numbers(there) };
      const asked = evaluate({ v: numbers(here) }, (graph, { v, w }) => ({ y: add(graph, v, w) }), {
        constants,
      });
      const message = `constant 'w'; expected ${here.name}; got ${there.name}`;
      await expect(asked).rejects.toMatchObject({ code: 'ERR_DEVICE', message });
    }
    const masks = cpu.tensor([1, 2, 2], 'u8', new Uint8Array(4));
    await expect(gpu.encodeMasks(masks)).rejects.toMatchObject({ code: 'ERR_DEVICE' });
  });

  it('is refused: a constant with the name of an input', async () => {
    const w = f32([1], [9]);
    const asked = evaluate({ x }, (graph, v) => ({ y: activation(graph, v.x, 'relu') }), {
      constants: { x: w },
    });
    await expect(asked).rejects.toMatchObject({
      code: 'ERR_ARGUMENT',
      message: expect.stringContaining('names'),
    });
  });
});
