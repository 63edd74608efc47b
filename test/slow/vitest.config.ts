import { defineConfig } from 'vitest/config';

/** Models of the published size: 100 million generated parameters, minutes on a CPU. */
export default defineConfig({
  test: {
    include: ['test/slow/**/*.test.ts'],
    testTimeout: 600_000,
    hookTimeout: 600_000,
    // One model's weights in memory at a time.
    maxWorkers: 1,
    pool: 'forks',
  },
});
