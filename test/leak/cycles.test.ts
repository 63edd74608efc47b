import { describe, expect, it } from 'vitest';
import { runModule } from '../support/child.js';

const CYCLES = Number(process.env.HRSAM_LEAK_CYCLES ?? 2000);
const DEVICE = JSON.stringify(process.env.HRSAM_TEST_DEVICE ?? 'cpu');

const ROUNDS = 10;

/** What a round of 200 cycles may add: 10 KiB a cycle. A leaked embedding is 64 KiB. */
const NOISE = 2 * 2 ** 20;

/**
 * What a round adds, as the median slope between any two of them (Theil and Sen): a leak adds to each, an arena that the
 * allocator takes or gives back moves some of them up or down.
 */
function growth(rounds: number[]): number {
  const slopes = rounds.flatMap((bytes, i) =>
    rounds.slice(0, i).map((before, j) => (bytes - before) / (i - j)),
  );
  return slopes.toSorted((a, b) => a - b)[slopes.length >> 1]!;
}

/** Encodes, segments and frees in rounds; prints resident memory after each, once garbage is collected. */
const program = (cycle: string) => `
  import { HRSAM } from 'hrsam';
  const width = 96, height = 64;
  const picture = { data: new Uint8Array(width * height * 3).map((_, i) => (i * 31) & 255), width, height, channels: 3 };
  const model = await HRSAM.load('random:hrsam-tiny', { device: ${DEVICE} });
  const cycle = async (i) => { ${cycle} };
  const settle = async () => {
    for (let i = 0; i < 4; i++) {
      gc();
      await new Promise((resolve) => setImmediate(resolve));
    }
  };
  const rss = [], buffers = [];
  const each = ${Math.ceil(CYCLES / ROUNDS)};
  for (let round = 0; round < ${ROUNDS}; round++) {
    for (let i = 0; i < each; i++) await cycle(i);
    await settle();
    rss.push(process.memoryUsage.rss());
    buffers.push(model.device.memory().buffers);
  }
  console.log(JSON.stringify({ rss, buffers }));
`;

const CYCLES_OF: [string, string][] = [
  [
    'with using',
    `using image = await model.encode(picture, { size: 128 });
     const [mask] = await image.segment({ points: [[i % width, i % height]] });
     if (mask.area < 0) throw new Error();`,
  ],
  [
    'with dispose()',
    `const image = await model.encode(picture, { size: 128 });
     await image.segment({ boxes: [[1, 2, 30, 40], [5, 5, 50, 50]] });
     image.dispose();
     image.dispose();`,
  ],
  [
    'without either',
    `const image = await model.encode(picture, { size: 128 });
     await image.segment({ points: [[i % width, i % height]], multimask: true });`,
  ],
  [
    'with requests that fail or are aborted',
    `const controller = new AbortController();
     const aborted = model.encode(picture, { size: 128, signal: controller.signal });
     if (i % 2) await Promise.resolve();
     controller.abort();
     await aborted.then((image) => image.dispose(), () => {});
     using image = await model.encode(picture, { size: 128 });
     await image.segment({ points: [[Number.NaN, 0]] }).catch(() => {});
     await model.encode(new Uint8Array(100)).catch(() => {});`,
  ],
];

describe(`${CYCLES} cycles of encode, segment, dispose leave memory flat`, () => {
  it.each(CYCLES_OF)(
    '%s',
    async (_, cycle) => {
      const { code, stdout, stderr } = await runModule(program(cycle), { flags: ['--expose-gc'] });
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
      const { rss, buffers } = JSON.parse(stdout) as { rss: number[]; buffers: number[] };
      // Smallest values: the collector sometimes leaves an array of the last cycle for later.
      const live = [Math.min(...buffers.slice(0, ROUNDS / 2)), Math.min(...buffers.slice(ROUNDS / 2))];
      expect(live[1], `bytes of live tensors after each round: ${buffers}`).toBe(live[0]);
      expect(growth(rss), `resident bytes after each round: ${rss}`).toBeLessThan(NOISE);
    },
    300_000,
  );

  it('with models that are loaded and disposed', async () => {
    const { code, stdout, stderr } = await runModule(
      `
      import { Device, HRSAM } from 'hrsam';
      const picture = { data: new Uint8Array(32 * 32 * 3), width: 32, height: 32, channels: 3 };
      const rss = [];
      const device = Device.open(${DEVICE});
      for (let i = 0; i < 128; i++) {
        const model = await HRSAM.load('random:hrsam-tiny', { device: ${DEVICE} });
        using image = await model.encode(picture, { size: 64 });
        if (i % 2) model.dispose();
        if (i % 16 === 15) {
          for (let k = 0; k < 4; k++) { gc(); await new Promise((resolve) => setImmediate(resolve)); }
          rss.push(process.memoryUsage.rss());
        }
      }
      const { buffers, packed } = device.memory();
      console.log(JSON.stringify({ rss, buffers, packed }));
      `,
      { flags: ['--expose-gc'] },
    );
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    const { rss, buffers, packed } = JSON.parse(stdout) as { rss: number[]; buffers: number; packed: number };
    expect({ buffers, packed }).toEqual({ buffers: 0, packed: 0 });
    // A model has 6 MB of weights; a leaked one in ten would show.
    expect(growth(rss), `resident bytes after each 16: ${rss}`).toBeLessThan(4 * NOISE);
  });
});
