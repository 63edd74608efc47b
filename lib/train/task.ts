import type { MicroBatch } from './replica.js';

/** A micro-batch ready to be learned from. Dispose it once that is done. */
export interface TaskBatch extends Disposable {
  batch: MicroBatch;
  /** What is worth a curve, such as the mean IoU after one click. */
  figures: Record<string, number>;
}

/** What is learned, on one device. Everything it makes follows from its seed, an index and the parameters. */
export interface Task<Data = unknown> {
  /** Samples in a micro-batch. */
  readonly samples: number;
  /** What micro-batch `index` needs that does not depend on the parameters; made ahead. */
  prepare(index: number): Promise<Data>;
  batch(data: Data, index: number): Promise<TaskBatch>;
  dispose(): void;
}
