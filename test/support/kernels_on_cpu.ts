import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { root } from './files.js';

/** CUDA's kernels built for the CPU: a file for HRSAM_CUDA_LIBRARY. */
export const kernelsOnCpu = join(root, 'build/on_cpu/hrsam_cuda_on_cpu.so');

export const hasKernelsOnCpu = existsSync(kernelsOnCpu);
