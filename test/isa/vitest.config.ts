import { defineConfig } from 'vitest/config';

// What test/model/isa.test.ts runs once per instruction set, in a process of its own: a process has one CPU device.
export default defineConfig({
  test: { include: ['test/isa/results.ts'], testTimeout: 60_000, pool: 'forks' },
});
