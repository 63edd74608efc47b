import { allOf } from '../all_of.js';
import type { MicroBatch } from './replica.js';
import { prefetch } from './samples/prefetch.js';
import { learningRate } from './schedule.js';
import type { Task } from './task.js';
import type { Trainer } from './trainer.js';

export interface RunOptions {
  /** Micro-batches of a step. */
  accumulate: number;
  /** Optimiser steps in all, those already taken included. */
  steps: number;
  signal?: AbortSignal;
  /** After each step: its mean loss and the means of the task's figures. */
  onStep(step: StepReport): void | Promise<void>;
}

export interface StepReport {
  /** Steps taken, this one included. */
  step: number;
  loss: number;
  rate: number;
  figures: Record<string, number>;
}

/** How many micro-batches are prepared ahead for each device. */
const AHEAD = 2;

/**
 * Takes steps until all are taken or the signal says stop; a step that has begun is finished. Of a step's micro-batches one
 * for each device is in memory at a time.
 * @param tasks one for each of the trainer's replicas, all of them the same but for the device
 */
export async function runTask<Data>(
  trainer: Trainer,
  tasks: readonly Task<Data>[],
  { accumulate, steps, signal, onStep }: RunOptions,
): Promise<void> {
  const { schedule } = trainer.options;
  let index = trainer.taken * accumulate;
  const range = { from: index, to: steps * accumulate, concurrency: AHEAD * tasks.length };
  const source = prefetch((i) => tasks[0]!.prepare(i), range);
  async function* rounds(figures: Record<string, number>[]) {
    for (let left = accumulate; left > 0; ) {
      const round = tasks.slice(0, left);
      const data: Data[] = [];
      while (data.length < round.length) data.push((await source.next()).value!);
      const batches = round.map((task, i) => task.batch(data[i]!, index + i));
      index += round.length;
      left -= round.length;
      const made = await allOf(batches, (batch) => batch[Symbol.dispose]());
      try {
        figures.push(...made.map((batch) => batch.figures));
        yield made.map(({ batch }) => batch) as [MicroBatch, ...MicroBatch[]];
      } finally {
        for (const batch of made) batch[Symbol.dispose]();
      }
    }
  }
  while (trainer.taken < steps && !signal?.aborted) {
    const rate = learningRate(trainer.taken, schedule);
    const figures: Record<string, number>[] = [];
    const loss = await trainer.step(rounds(figures));
    await onStep({ step: trainer.taken, loss, rate, figures: means(figures) });
  }
}

/** The mean of each figure over the records that have it. */
export function means(records: readonly Record<string, number>[]): Record<string, number> {
  const names = new Set(records.flatMap((record) => Object.keys(record)));
  return Object.fromEntries(
    [...names].map((name) => {
      const values = records.flatMap((record) => (name in record ? [record[name]!] : []));
      return [name, values.reduce((sum, value) => sum + value, 0) / values.length];
    }),
  );
}
