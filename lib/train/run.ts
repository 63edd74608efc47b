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

/** How many micro-batches are prepared ahead. */
const AHEAD = 2;

/**
 * Takes steps until all are taken or the signal says stop; a step that has begun is finished. Of a step's micro-batches one
 * is in memory at a time.
 */
export async function runTask<Data>(
  trainer: Trainer,
  task: Task<Data>,
  { accumulate, steps, signal, onStep }: RunOptions,
): Promise<void> {
  const { schedule } = trainer.options;
  let index = trainer.taken * accumulate;
  const range = { from: index, to: steps * accumulate, concurrency: AHEAD };
  const source = prefetch((i) => task.prepare(i), range);
  async function* microBatches(figures: Record<string, number>[]) {
    for (let i = 0; i < accumulate; i++) {
      const { value } = await source.next();
      const made = await task.batch(value!, index++);
      try {
        figures.push(made.figures);
        yield made.batch;
      } finally {
        made[Symbol.dispose]();
      }
    }
  }
  while (trainer.taken < steps && !signal?.aborted) {
    const rate = learningRate(trainer.taken, schedule);
    const figures: Record<string, number>[] = [];
    const loss = await trainer.step(microBatches(figures));
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
