import { describe, expect, it } from 'vitest';
import { program } from '../../lib/graph/evaluate.js';
import type { Graph } from '../../lib/graph/graph.js';
import { activation } from '../../lib/graph/ops/activation.js';
import { linear } from '../../lib/graph/ops/linear.js';
import { permute } from '../../lib/graph/ops/permute.js';
import { Device } from '../../lib/runtime/device.js';
import type { Tensors } from '../../lib/runtime/program.js';
import { codeOf, errorOf } from '../support/errors.js';
import { heldBytes } from '../support/memory.js';

const cpu = Device.open('cpu');

const values = (count: number, seed: number) =>
  Float32Array.from({ length: count }, (_, i) => Math.sin(i * 0.37 + seed));

const filled = (shape: number[], seed: number) =>
  cpu.tensor(
    shape,
    'f32',
    values(
      shape.reduce((a, b) => a * b, 1),
      seed,
    ),
  );

const build = (graph: Graph, { x, weight }: Record<string, import('../../lib/graph/graph.js').Value>) => ({
  y: activation(graph, linear(graph, x!, weight!), 'gelu'),
});

const compiled = () => {
  const inputs: Tensors = { x: filled([33, 48], 1), weight: filled([64, 48], 2) };
  return program(cpu, inputs, build).then((made) => ({ made, inputs }));
};

describe('programs', () => {
  it('name the input that is missing or of another shape or type', async () => {
    const { made, inputs } = await compiled();
    const missing = await errorOf(() => made.run({ x: inputs.x! }));
    expect(missing.code).toBe('ERR_SHAPE');
    expect(missing.message).toBe("input 'weight'; expected f32 [64,48]; got nothing");
    const wrong = await errorOf(() => made.run({ ...inputs, x: filled([33, 47], 1) }));
    expect(wrong.message).toBe("input 'x'; expected f32 [33,48]; got f32 [33,47]");
    const type = await errorOf(() => made.run({ ...inputs, x: cpu.tensor([33, 48], 'i32') }));
    expect(type.message).toBe("input 'x'; expected f32 [33,48]; got i32 [33,48]");
  });

  it('take tensors and nothing else', async () => {
    const { made, inputs } = await compiled();
    const { shape, dtype, device } = inputs.x!;
    const wrong = (value: unknown) => value as never;
    for (const x of [5, 'x', shape, { shape, dtype, device }])
      expect(await codeOf(() => made.run({ ...inputs, x: wrong(x) }))).toBe('ERR_SHAPE');
    for (const none of [undefined, null, 5]) {
      expect(await codeOf(() => made.run(wrong(none)))).toBe('ERR_SHAPE');
      expect(await codeOf(() => program(cpu, { x: wrong(none) }, build))).toBe('ERR_ARGUMENT');
      expect(await codeOf(() => program(wrong(none), inputs, build))).toBe('ERR_ARGUMENT');
      expect(await codeOf(() => cpu.encodeMasks(wrong(none)))).toBe('ERR_SHAPE');
    }
    // More pixels than a run length counts.
    expect(await codeOf(() => cpu.encodeMasks(cpu.tensor([0, 65536, 65536], 'u8')))).toBe('ERR_SHAPE');
    expect(await cpu.encodeMasks(cpu.tensor([0, 65536, 65535], 'u8'))).toEqual([]);
    expect(await codeOf(() => program(cpu, wrong(null), build))).toBe('ERR_ARGUMENT');
  });

  it('write into tensors that are given, if they fit', async () => {
    const { made, inputs } = await compiled();
    const expected = await (await made.run(inputs)).y!.data();
    const y = cpu.tensor([33, 64], 'f32');
    const outputs = await made.run(inputs, { into: { y } });
    expect(outputs.y).toBe(y);
    expect(await y.data()).toEqual(expected);
    expect(await codeOf(() => made.run(inputs, { into: { y: cpu.tensor([33, 63], 'f32') } }))).toBe(
      'ERR_SHAPE',
    );
  });

  it('write neither over what they read, nor twice to one tensor, nor to outputs they do not have', async () => {
    const x = filled([4, 4], 1);
    const twice = await program(cpu, { x }, (graph, { x }) => ({
      y: permute(graph, x!, [1, 0]),
      z: activation(graph, x!, 'gelu'),
    }));
    const other = cpu.tensor([4, 4], 'f32');
    const wrong: Tensors[] = [{ y: x }, { y: other, z: other }, { w: other }];
    for (const into of wrong) expect(await codeOf(() => twice.run({ x }, { into }))).toBe('ERR_ARGUMENT');
  });

  it('end with ERR_DISPOSED when they or an input are gone', async () => {
    const { made, inputs } = await compiled();
    inputs.x!.dispose();
    expect(await codeOf(() => made.run(inputs))).toBe('ERR_DISPOSED');
    made.dispose();
    made.dispose();
    expect(await codeOf(() => made.run({ ...inputs, x: filled([33, 48], 1) }))).toBe('ERR_DISPOSED');
  });

  it('finish runs under way when everything around them is disposed', async () => {
    const { made, inputs } = await compiled();
    const expected = await (await made.run(inputs)).y!.data();
    const runs = Array.from({ length: 5 }, () => made.run(inputs));
    made.dispose();
    for (const tensor of Object.values(inputs)) tensor.dispose();
    for (const { y } of await Promise.all(runs)) expect(await y!.data()).toEqual(expected);
  });

  it('give the same bytes to many callers at once as alone', async () => {
    const cases = Array.from({ length: 8 }, (_, i) => ({
      x: filled([33 + i, 48], i),
      weight: filled([64, 48], 2),
    }));
    const programs = await Promise.all(cases.map((inputs) => program(cpu, inputs, build)));
    const alone: Float32Array[] = [];
    for (const [i, made] of programs.entries())
      alone.push((await (await made.run(cases[i]!)).y!.data()) as Float32Array);
    const rounds = Array.from({ length: 200 }, (_, k) => k % cases.length);
    const together = await Promise.all(rounds.map((i) => programs[i]!.run(cases[i]!)));
    for (const [k, { y }] of together.entries()) {
      const data = (await y!.data()) as Float32Array;
      expect(Buffer.compare(Buffer.from(data.buffer), Buffer.from(alone[rounds[k]!]!.buffer))).toBe(0);
    }
  });

  it('give back all memory of runs and of themselves', async () => {
    const { made, inputs } = await compiled();
    (await made.run(inputs)).y!.dispose();
    const before = await heldBytes();
    for (let i = 0; i < 20; i++) (await made.run(inputs)).y!.dispose();
    expect(await heldBytes()).toBe(before);
  });
});
