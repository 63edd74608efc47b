import type { OpDefinition } from '../graph.js';
import { linearOp } from './linear.js';

/**
 * `linear` of e4m3 products, on Hopper alone: rows of x and of the weight are divided by 1/448 of their largest size and
 * rounded to 4 bits of exponent and 3 of fraction. The weight is a constant.
 */
export const linearFp8Op: OpDefinition = { ...linearOp, name: 'linear_fp8', gradient: undefined };
