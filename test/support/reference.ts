import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { describe } from 'vitest';
import { toFloat32 } from '../../lib/weights/dtypes.js';
import { fillTensor } from '../../lib/weights/random.js';
import { SafetensorsFile } from '../../lib/weights/safetensors.js';
import type { Noise } from './compare.js';

// The complete reference beside the repository, if it is there, else the copies that scripts/copy-fixtures.mjs made.
const ROOTS = ['../../../shared/reference/', '../fixtures/reference/'].map((path) =>
  fileURLToPath(new URL(path, import.meta.url)),
);

/** Values on the host: what files hold and what tests compare. */
export interface HostTensor {
  shape: readonly number[];
  data: Float32Array;
}

/** Path of a reference file; undefined where neither the reference nor a copy has it. */
export function fixture(path: string): string | undefined {
  return ROOTS.map((root) => root + path).find((file) => existsSync(file));
}

/** Whether the complete reference is there: base models, photographs, gradients. */
export const hasShared = existsSync(`${ROOTS[0]}manifest.json`);

/** Names inside a folder of the reference. */
export function fixtures(folder: string): string[] {
  return readdirSync(need(folder)).sort();
}

function need(path: string): string {
  const file = fixture(path);
  if (file === undefined) throw new Error(`${path} is missing: npm run fixtures`);
  return file;
}

/** A JSON file of the reference. */
// biome-ignore lint/suspicious/noExplicitAny: each has a layout of its own, described in the reference's README
export const readJson = (path: string): any => JSON.parse(readFileSync(need(path), 'utf8'));

// biome-ignore lint/suspicious/noExplicitAny: parameters differ from op to op
type Parameters = Record<string, any>;

/** One case of ops.json; its tensors are `<name>/<tensor>` in the op's safetensors file. */
export interface OpCase {
  name: string;
  params: Parameters;
  inputs: string[];
  weights: string[];
  outputs: string[];
  fp32_vs_fp64: Record<string, Noise>;
}

export const opCases = (op: string): OpCase[] => readJson('ops/ops.json')[op].cases;

/** One entry of Segment Anything's ops: rules of its inputs, the name of its result. */
export type SamOp = Parameters & { op: string; out: string };

export const samOps = (op: string): SamOp[] =>
  readJson('sam/ops/case.json').ops.filter((each: SamOp) => each.op === op && each.out !== undefined);

/** What the reference says about the tensors of a Segment Anything case. */
export const samNoise = (folder: string): Record<string, Noise> =>
  readJson(`${folder}/case.json`).expected.tensors;

/** `describe` for what only the complete reference has; without it, one line says what was left out. */
export function describeShared(name: string, body: () => void): void {
  if (hasShared) describe(name, body);
  else {
    process.stderr.write(`left out: ${name} (needs the complete reference in ../shared/reference)\n`);
    describe.skip(name, () => {});
  }
}

/** All tensors of a safetensors file, as f32. A name that the file lacks ends the test. */
export class HostTensors {
  private constructor(
    readonly path: string,
    private readonly tensors: ReadonlyMap<string, HostTensor>,
  ) {}

  static load(path: string): Promise<HostTensors> {
    return HostTensors.open(need(path));
  }

  /** Like `load`, of any file. */
  static async open(path: string): Promise<HostTensors> {
    await using file = await SafetensorsFile.open(path);
    const tensors = new Map<string, HostTensor>();
    for (const [name, { dtype, shape }] of file.tensors) {
      const stored = await file.read(name);
      const bytes = new Uint8Array(stored.buffer, stored.byteOffset, stored.byteLength);
      tensors.set(name, { shape, data: toFloat32(dtype, bytes) });
    }
    return new HostTensors(path, tensors);
  }

  get(name: string): HostTensor {
    const tensor = this.tensors.get(name);
    if (!tensor) throw new Error(`${this.path} has no tensor ${name}`);
    return tensor;
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  names(): string[] {
    return [...this.tensors.keys()];
  }
}

/** How the reference describes a tensor that is made from its name. */
export interface TensorRule {
  name: string;
  shape: number[];
  offset?: number;
  scale?: number;
  offset_table?: number[];
  rule?: string;
  theta?: number;
  dim?: number;
}

export function generate({
  name,
  shape,
  offset = 0,
  scale = 1,
  offset_table,
  rule,
  theta,
  dim,
}: TensorRule): HostTensor {
  const data = new Float32Array(shape.reduce((product, size) => product * size, 1));
  if (rule === 'rope_freqs') return { shape, data: data.map((_, k) => theta! ** ((-2 * k) / dim!)) };
  return { shape, data: fillTensor(name, { offset, scale, offsetTable: offset_table }, data) };
}
