import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  type TensorToWrite,
  type WriteOptions,
  writeSafetensors,
} from '../../lib/weights/safetensors_writer.js';

/** The bytes of the file that `writeSafetensors` makes. */
export async function encodeSafetensors(
  tensors: Iterable<TensorToWrite>,
  options?: WriteOptions,
): Promise<Uint8Array> {
  const folder = await mkdtemp(join(tmpdir(), 'hrsam-encoded-'));
  try {
    const path = join(folder, 'tensors.safetensors');
    await writeSafetensors(path, tensors, options);
    return new Uint8Array(await readFile(path));
  } finally {
    await rm(folder, { recursive: true });
  }
}
