import type { DType } from './dtype.js';

/** Where a value lives while a program runs; the numbers are those of native/include/hrsam_backend.h. */
export const STORAGE = { input: 0, constant: 1, folded: 2, arena: 3, output: 4 } as const;

export interface PlanValue {
  dtype: number;
  shape: readonly number[];
  storage: number;
  /** Position in the inputs, outputs or constants; for folded values, which memory they share. */
  slot: number;
  /** Bytes into the arena, the constant's buffer or the folded memory. */
  offset: number;
}

export interface PlanNode {
  op: string;
  layer: string;
  operands: { name: string; value: number }[];
  attributes: { name: string; values: number[] }[];
  result: number;
}

export interface PlanPort {
  name: string;
  shape: readonly number[];
  dtype: DType;
}

/** A forward pass with its memory laid out: what a backend compiles. Made by lib/graph/plan.ts. */
export interface Plan {
  values: PlanValue[];
  nodes: PlanNode[];
  /** Names of the constants by slot. */
  constants: string[];
  inputs: PlanPort[];
  outputs: PlanPort[];
  arenaBytes: number;
  /** Floating-point operations of one run; decides what may pass what in the device's queue. */
  flops: number;
}
