import { spawnSync } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { root, scratch } from '../support/files.js';

const script = (path: string) => import(new URL(`../../scripts/${path}`, import.meta.url).href);
const { generated } = await script('figures.mjs');
const { chart } = await script('figures/chart.mjs');
const { tables, withTables } = await script('figures/tables.mjs');

const row = (what: string, median: number, more: object = {}) => ({
  what,
  device: 'cuda:0',
  dtype: 'bf16',
  size: '1024 x 1024',
  batch: 16,
  median,
  spread: 0.01,
  runs: 200,
  ...more,
});

const ours = {
  schema: 1,
  by: 'hrsam 1.2.3',
  device: { name: 'GPU A', detail: 'driver 1', memory: 1 },
  processor: 'CPU B',
  threads: 2,
  node: 'v20.1.0',
  commit: '0123456789abcdef0123456789abcdef01234567+',
  run: 'one',
  date: '2026-01-02T03:04:05Z',
  rows: [
    row('m encoder', 32, { p99: 33.333, gflops: 400_000, share: 0.506 }),
    row('m encoder', 320, { dtype: 'f32' }),
    row('m encoder', 4, { batch: 1 }),
    row('m click to mask', 0.8, { batch: 1 }),
    row('m event loop, p99', 1.25, { batch: 1 }),
    row('linear', 0.25, { gflops: 640_000, share: 0.8 }),
    row('cycle scan, R = 1', 1),
    row('LayerNorm', 0.5, { gbps: 4210, share: 0.91 }),
  ],
};

const rivals = {
  ...ours,
  by: 'PyTorch 9',
  rows: [
    row('m encoder', 80, { by: 'slow' }),
    row('m encoder', 64, { by: 'fast' }),
    row('m encoder', 1, { by: 'another batch', batch: 1 }),
  ],
};

test('README, docs/figures.md and the picture are of the results that are there: npm run figures', () => {
  const made = Object.entries(generated());
  expect(made.length).toBeGreaterThan(1);
  for (const [path, content] of made) expect(readFileSync(path, 'utf8')).toBe(content);
});

describe('chart', () => {
  const lengths = (svg: string) =>
    [...svg.matchAll(/width="([\d.]+)" height="12" fill/g)].map((match) => Number(match[1])).slice(2);

  test('has a bar for each row that has a rival, as long as the logarithm says, to the left where it is slower', () => {
    const svg: string = chart({ 'a.json': ours, 'a.rivals.json': rivals });
    expect(svg).toContain('GPU A, PyTorch 9');
    expect([...svg.matchAll(/>([\d.]+) ×</g)].map(([, times]) => times)).toEqual(['2.00', '0.25']);
    const [faster, slower] = lengths(svg) as [number, number];
    expect(slower / faster).toBeCloseTo(2, 1);
    const [from, to] = [...svg.matchAll(/<rect x="([\d.]+)" y="\d+" width/g)]
      .slice(2)
      .map((match) => Number(match[1]));
    expect(to! + slower).toBeCloseTo(from!, 0);
  });

  test('is none without rivals of the same run', () => {
    expect(chart({ 'a.json': ours })).toBeUndefined();
    expect(chart({ 'a.json': ours, 'a.rivals.json': { ...rivals, run: 'two' } })).toBeUndefined();
  });

  test('shows names as text whatever they hold', () => {
    const odd = { ...ours, device: { ...ours.device, name: 'A <b> & "c"' } };
    const svg = chart({ 'a.json': odd, 'a.rivals.json': { ...rivals, device: odd.device } });
    expect(svg).toContain('A &#60;b&#62; &#38; "c"');
    expect(svg).not.toContain('<b>');
  });
});

describe('tables', () => {
  test('say where and when, rate, share of the ceiling, and the fastest rival for the same', () => {
    const lines = tables({ 'a.json': ours, 'a.rivals.json': rivals }).split('\n');
    expect(lines).toEqual([
      '**GPU A**: driver 1; hrsam 1.2.3, commit 0123456789ab+; Node 20.1.0; PyTorch 9; 2026-01-02.',
      '',
      '| encoder | size | batch | type | median | p99 | rate | of the ceiling | click | event loop, p99 | PyTorch, fastest | times as fast |',
      '| --- | --- | --: | --- | --: | --: | --: | --: | --: | --: | --- | --: |',
      '| m | 1024 x 1024 | 16 | bf16 | 32.0 ms | 33.3 ms | 500 images/s | 51 % |  |  | 64.0 ms (fast) | 2.00 × |',
      '| m | 1024 x 1024 | 1 | bf16 | 4.00 ms |  | 250 images/s |  | 0.80 ms | 1.25 ms | 1.00 ms (another batch) | 0.25 × |',
      '',
      '|  | size | batch | type | median | rate | of the ceiling |',
      '| --- | --- | --: | --- | --: | --: | --: |',
      '| linear | 1024 x 1024 | 16 | bf16 | 0.25 ms | 640 TFLOP/s | 80 % |',
      '| LayerNorm | 1024 x 1024 | 16 | bf16 | 0.50 ms | 4210 GB/s | 91 % |',
    ]);
  });

  test('of some sizes are of encoders alone', () => {
    const more = { ...ours, rows: [...ours.rows, row('m encoder', 8, { size: '512 x 512' })] };
    const made = tables({ 'a.json': more }, ['512 x 512']);
    expect(made.split('\n').slice(2)).toEqual([
      '| encoder | size | batch | type | median | rate |',
      '| --- | --- | --: | --- | --: | --: |',
      '| m | 512 x 512 | 16 | bf16 | 8.00 ms | 2000 images/s |',
    ]);
  });

  test.each([
    ['of another run', { ...rivals, run: 'two' }],
    ['of no run', { ...rivals, run: undefined }],
    ['of another device', { ...rivals, device: { ...rivals.device, name: 'GPU C' } }],
  ])('leave rivals out that are %s', (_, others) => {
    const made = tables({ 'a.json': ours, 'a.rivals.json': others });
    expect(made).toContain('| m |');
    expect(made).not.toMatch(/fast\)|PyTorch 9/);
  });

  test('of a run without a name have no rivals', () => {
    const nameless = { ...ours, run: undefined };
    expect(tables({ 'a.json': nameless, 'a.rivals.json': { ...rivals, run: undefined } })).not.toContain(
      'fast)',
    );
  });

  test('of a processor say its threads and show both types; a note is shown', () => {
    const cpu = ours.rows.map((each) => ({ ...each, device: 'cpu' }));
    const made = tables({ 'cpu.json': { ...ours, rows: cpu, note: 'other work beside it' } });
    expect(made).toContain('; 2 threads; ');
    expect(made).toContain('; other work beside it.');
    expect(made).toContain('| f32 | 320 ms |');
  });

  test('compare processors with as many threads', () => {
    const onCpu = ({ rows, ...rest }: typeof ours) => ({
      ...rest,
      rows: rows.map((each) => ({ ...each, device: 'cpu' })),
    });
    const others = onCpu(rivals);
    const made = (threads: number) =>
      tables({ 'a.json': onCpu(ours), 'a.rivals.json': { ...others, threads } });
    expect(made(2)).toContain('64.0 ms (fast)');
    expect(made(1)).not.toContain('fast)');
  });

  test('nothing without results; rivals alone make no table', () => {
    expect(tables({})).toBe('');
    expect(tables({ 'a.rivals.json': rivals })).toBe('');
  });
});

describe('withTables', () => {
  const text = 'a\n<!-- figures: npm run figures -->\nold\n<!-- end of figures -->\nb';

  test('replaces what stands between the markers, and only that', () => {
    const made = withTables(text, 'new');
    expect(made).toBe('a\n<!-- figures: npm run figures -->\n\nnew\n\n<!-- end of figures -->\nb');
    expect(withTables(made, 'new')).toBe(made);
    expect(withTables(made, '')).toBe('a\n<!-- figures: npm run figures -->\n<!-- end of figures -->\nb');
  });

  test('refuses a text without markers', () => {
    expect(() => withTables('nothing', 'new')).toThrow('README.md: expected <!-- figures');
  });
});

/** scripts/measure.sh in a folder of its own, with stand-ins for the two programs: the documents that it leaves. */
function measured(node: string, python: string) {
  const folder = scratch('hrsam-measure-')();
  mkdirSync(join(folder, 'scripts'));
  copyFileSync(join(root, 'scripts/measure.sh'), join(folder, 'scripts/measure.sh'));
  for (const [name, script] of Object.entries({ node, python })) {
    writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(folder, name), 0o755);
  }
  const { HRSAM_BENCH_RUN: _, ...inherited } = process.env;
  const programs = { HRSAM_NODE: join(folder, 'node'), HRSAM_PYTHON: join(folder, 'python') };
  const { status } = spawnSync('bash', ['scripts/measure.sh', 'cpu', '--dtype', 'f32'], {
    cwd: folder,
    env: { ...inherited, ...programs, HRSAM_COMMIT: 'abc' },
  });
  const results = join(folder, 'bench/results');
  const made = readdirSync(results).map((name) => [
    name,
    JSON.parse(readFileSync(join(results, name), 'utf8')),
  ]);
  return { status, documents: Object.fromEntries(made) };
}

describe.runIf(process.platform === 'linux')('a run of bench and rivals', () => {
  const tell = `printf '{"run": "%s", "commit": "%s", "given": "%s"}' "$HRSAM_BENCH_RUN" "$HRSAM_COMMIT" "$*"`;
  const rivals = `[ "$1" = -c ] || ${tell}`;
  // The bench writes to the file that -o names.
  const bench = `said=$(${tell})
    while [ "$1" != -o ]; do shift; done
    printf %s "$said" >"$2"`;

  test('leaves two documents of one run', () => {
    const { status, documents } = measured(bench, rivals);
    expect(status).toBe(0);
    const [ours, theirs, ...others] = Object.keys(documents).sort();
    expect(others).toEqual([]);
    expect(theirs).toBe(ours!.replace('.json', '.rivals.json'));
    expect(documents[ours!].run).toMatch(/^\d{4}-.*, process \d+$/);
    expect(documents[theirs!].run).toBe(documents[ours!].run);
    expect(documents[ours!].commit).toBe('abc');
    expect(documents[ours!].given).toBe(
      `scripts/hrsam.mjs bench --device cpu --full -o bench/results/${ours} --dtype f32`,
    );
    expect(documents[theirs!].given).toBe('bench/rivals/pytorch.py --device cpu --full --dtype f32');
  });

  test('without PyTorch is the bench alone', () => {
    const { status, documents } = measured(bench, 'exit 1');
    expect(status).toBe(0);
    expect(Object.keys(documents)).toEqual([expect.not.stringContaining('rivals')]);
  });

  test('keeps what was measured when something fails, and nothing of nothing', () => {
    const { status, documents } = measured('exit 3', `${rivals}; [ "$1" = -c ] || exit 1`);
    expect(status).toBe(1);
    expect(Object.keys(documents)).toEqual([expect.stringContaining('.rivals.json')]);
  });
});
