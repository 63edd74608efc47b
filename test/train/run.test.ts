import { describe, expect, it } from 'vitest';
import { runTask, type StepReport } from '../../lib/train/run.js';
import type { Task } from '../../lib/train/task.js';
import type { Trainer } from '../../lib/train/trainer.js';

interface Faults {
  prepare?: number;
  batch?: number;
  step?: number;
}

/** Runs ten micro-batches, two to a step, from the second step on; anything may go wrong at some index. */
async function run(faults: Faults, stop: (step: number) => boolean = () => false, devices = 1) {
  const fail = (kind: keyof Faults, index: number) => {
    if (faults[kind] === index) throw new Error(`${kind} ${index}`);
  };
  const made: number[] = [];
  const disposed: number[] = [];
  const taken: number[][] = [];
  const task: Task<number> = {
    samples: 1,
    async prepare(index) {
      fail('prepare', index);
      return index;
    },
    async batch(data, index) {
      expect(data).toBe(index);
      fail('batch', index);
      made.push(index);
      const batch = { program: undefined as never, inputs: {}, size: index };
      return { batch, figures: { index }, [Symbol.dispose]: () => disposed.push(index) };
    },
    dispose() {},
  };
  const trainer = {
    taken: 1,
    options: { schedule: { peak: 1, warmup: 0, steps: 5 } },
    async step(rounds: AsyncIterable<{ size: number }[]>) {
      const sizes: number[] = [];
      for await (const round of rounds) {
        expect(round).toHaveLength(devices);
        expect(made.length - disposed.length).toBe(devices);
        for (const { size } of round) {
          fail('step', size);
          sizes.push(size);
        }
      }
      taken.push(sizes);
      trainer.taken++;
      return 7;
    },
  };
  const tasks = Array.from({ length: devices }, () => task);
  const reports: StepReport[] = [];
  const controller = new AbortController();
  const error = await runTask(trainer as unknown as Trainer, tasks, {
    accumulate: 2,
    steps: 5,
    signal: controller.signal,
    onStep(report) {
      reports.push(report);
      if (stop(report.step)) controller.abort();
    },
  }).then(
    () => undefined,
    (reason: Error) => reason.message,
  );
  return { made, disposed, taken, reports, error };
}

describe('runTask', () => {
  it('takes the steps that are left', async () => {
    const { taken, reports, disposed, error } = await run({});
    expect(error).toBeUndefined();
    expect(taken).toEqual([
      [2, 3],
      [4, 5],
      [6, 7],
      [8, 9],
    ]);
    expect(reports[0]).toEqual({ step: 2, loss: 7, rate: 0.8, figures: { index: 2.5 } });
    expect(disposed).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it('stops after a step', async () => {
    const { reports, made, disposed } = await run({}, (step) => step === 3);
    expect(reports.map(({ step }) => step)).toEqual([2, 3]);
    expect(disposed).toEqual(made);
  });

  it('hands micro-batches to two devices at a time, in order', async () => {
    const { taken, reports, disposed } = await run({}, undefined, 2);
    expect(taken).toEqual([
      [2, 3],
      [4, 5],
      [6, 7],
      [8, 9],
    ]);
    expect(reports[0]).toEqual({ step: 2, loss: 7, rate: 0.8, figures: { index: 2.5 } });
    expect(disposed).toEqual([2, 3, 4, 5, 6, 7, 8, 9]);
  });

  it.each<[string, Faults]>([
    ['preparing', { prepare: 7 }],
    ['a micro-batch', { batch: 7 }],
    ['a step', { step: 7 }],
  ])('disposes everything once when %s fails', async (_, faults) => {
    for (const devices of [1, 2]) {
      const { made, disposed, error } = await run(faults, undefined, devices);
      expect(error).toBe(Object.entries(faults).flat().join(' '));
      expect(made.length).toBeGreaterThan(3);
      expect(disposed).toEqual(made);
    }
  });
});
