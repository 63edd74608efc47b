import { existsSync, realpathSync, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';

/** One of them is there where an NVIDIA driver is; the second is WSL's. */
const DRIVER = ['/proc/driver/nvidia/version', '/dev/dxg'];

/**
 * nvcc and when it was made, where there is an NVIDIA driver as well; otherwise nothing. It looks where
 * native/cuda/cuda.cmake does.
 */
export function cudaCompiler(env = process.env, driver = DRIVER, usual = '/usr/local/cuda') {
  if (!driver.some((path) => existsSync(path))) return '';
  const homes = [env.CUDA_HOME, env.CUDA_PATH, usual].filter(Boolean).map((home) => join(home, 'bin'));
  const folders = [...homes, ...(env.PATH ?? '').split(delimiter)];
  const nvcc = folders.map((folder) => join(folder, 'nvcc')).find((path) => existsSync(path));
  // An upgrade leaves the name as it is: that of a link, or the file's own.
  return nvcc ? `${realpathSync(nvcc)} ${statSync(nvcc).mtimeMs}` : '';
}
