import { describe, expect, it } from 'vitest';
import { runModule } from '../support/child.js';

const CYCLES = Number(process.env.HRSAM_LEAK_CYCLES ?? 2000);
const DEVICE = JSON.stringify(process.env.HRSAM_TEST_DEVICE ?? 'cpu');

/** What the heaps of the process may move by between two rounds. A leaked embedding is 64 KiB per cycle. */
const NOISE = 8 * 2 ** 20;

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
  const rounds = 8, each = ${Math.ceil(CYCLES / 8)};
  for (let round = 0; round < rounds; round++) {
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
      const live = [Math.min(...buffers.slice(0, 4)), Math.min(...buffers.slice(4))];
      expect(live[1], `bytes of live tensors after each round: ${buffers}`).toBe(live[0]);
      // Heaps, compiled code and programs settle somewhere in the first rounds; a leak goes on in the last two.
      const [early, late] = [Math.max(...rss.slice(2, 5)), Math.min(...rss.slice(6))];
      expect(late - early, `resident bytes after each round: ${rss}`).toBeLessThan(NOISE);
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
    expect(Math.max(...rss.slice(5)) - Math.max(...rss.slice(2, 5)), `after each 16: ${rss}`).toBeLessThan(
      4 * NOISE,
    );
  });
});
