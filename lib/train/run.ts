import { prefetch } from './samples/prefetch.js';
import { learningRate } from './schedule.js';
import type { Task, TaskBatch } from './task.js';
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

/** How many micro-batches are prepared ahead. */
const AHEAD = 2;

/** Takes steps until all are taken or the signal says stop; a step that has begun is finished. */
export async function runTask<Data>(
  trainer: Trainer,
  task: Task<Data>,
  { accumulate, steps, signal, onStep }: RunOptions,
): Promise<void> {
  const { schedule } = trainer.options;
  const [from, to] = [trainer.taken * accumulate, steps * accumulate];
  const pending: TaskBatch[] = [];
  let index = from;
  const drop = () => {
    for (const batch of pending.splice(0)) batch[Symbol.dispose]();
  };
  try {
    for await (const data of prefetch((i) => task.prepare(i), { from, to, concurrency: AHEAD })) {
      if (signal?.aborted) break;
      pending.push(await task.batch(data, index++));
      if (pending.length < accumulate) continue;
      const rate = learningRate(trainer.taken, schedule);
      const loss = await trainer.step(pending.map(({ batch }) => batch));
      const figures = means(pending.map((batch) => batch.figures));
      drop();
      await onStep({ step: trainer.taken, loss, rate, figures });
    }
  } finally {
    drop();
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
