import { describe, expect, it } from 'vitest';
import { runModule } from '../support/child.js';
import { hasKernelsOnCpu, kernelsOnCpu } from '../support/kernels_on_cpu.js';

/** Embeddings of one picture by the model included; a small one, since CUDA's kernels run on the CPU here. */
const program = `
  import { HRSAM } from 'hrsam';
  const side = 64;
  const data = new Uint8Array(side * side * 3).map((_, i) => (i * 31) & 255);
  const embed = async (dtype) => {
    using model = await HRSAM.load(undefined, { device: 'cuda', dtype });
    using image = await model.encode({ data, width: side, height: side, channels: 3 }, { size: side });
    return Float32Array.from(await image.embedding.data());
  };
  try {
    const [exact, rough] = [await embed('f32'), await embed('fp8')];
    console.log(Math.hypot(...rough.map((x, i) => x - exact[i])) / Math.hypot(...exact));
  } catch ({ code, message }) {
    console.log(code, message);
  }
`;

const run = async (env: NodeJS.ProcessEnv) => {
  const { stdout, stderr } = await runModule(program, { env: { ...env, HRSAM_CUDA_LIBRARY: kernelsOnCpu } });
  expect(stderr).toBe('');
  return stdout.trim();
};

describe.runIf(hasKernelsOnCpu)('fp8', () => {
  it('is as near as 3 bits of fraction allow, on a Hopper GPU', async () => {
    const error = Number(await run({ HRSAM_TEST_GPU: 'hopper' }));
    // bf16's is 0.0015.
    expect(error).toBeGreaterThan(4e-3);
    expect(error).toBeLessThan(2.5e-2);
  });

  it('is refused by any other', async () => {
    expect(await run({ HRSAM_TEST_GPU: '' })).toMatch(/^ERR_DEVICE .*compute capability 9\.0/);
  });
});
