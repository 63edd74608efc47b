import { defineConfig } from 'tsdown';

const common = {
  platform: 'node',
  // Node 20 has no `using`: it is lowered.
  target: 'node20',
  // .js and .cjs: package.json says that the former are ES modules.
  fixedExtension: false,
  report: false,
  hash: false,
} as const;

export default defineConfig([
  { ...common, entry: { index: 'lib/index.ts' }, format: ['esm', 'cjs'], dts: true },
  {
    ...common,
    entry: { cli: 'lib/cli.ts' },
    format: 'esm',
    dts: false,
    clean: false,
    // Commands load what they need when they run.
    outputOptions: { chunkFileNames: 'cli/[name].js' },
  },
  {
    ...common,
    entry: { hrsam: 'lib/hrsam.cts' },
    format: 'cjs',
    dts: false,
    clean: false,
    external: ['./cli.js'],
  },
]);
