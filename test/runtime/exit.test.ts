import { describe, expect, it } from 'vitest';
import { runModule } from '../support/child.js';

/** The device under test. */
const DEVICE = JSON.stringify(process.env.HRSAM_TEST_DEVICE ?? 'cpu');

/** In front of each program: a tiny model, a long encode. */
const PROLOGUE = `
  import { HRSAM } from 'hrsam';
  import { Worker } from 'node:worker_threads';
  const pixels = { data: new Uint8Array(64 * 48 * 3).fill(90), width: 64, height: 48, channels: 3 };
  const load = () => HRSAM.load('random:hrsam-tiny', { device: ${DEVICE} });
  const LONG = { size: 2048 };
  const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));
`;

/** `thread(body)` starts a worker thread that has a model and then runs `body`. */
const THREADS = `
  const WORKER = \`
    import { parentPort } from 'node:worker_threads';
    import { HRSAM } from 'hrsam';
    const pixels = { data: new Uint8Array(64 * 48 * 3).fill(90), width: 64, height: 48, channels: 3 };
    const model = await HRSAM.load('random:hrsam-tiny', { device: ${DEVICE} });
  \`;
  const thread = (body) => new Worker(WORKER + body, { eval: true, execArgv: ['--input-type=module'] });
  const ended = (worker) => new Promise((resolve, reject) => worker.on('exit', resolve).on('error', reject));
  const message = (worker) => new Promise((resolve, reject) => worker.once('message', resolve).on('error', reject));
`;

const SEGMENT = `
  const image = await model.encode(pixels);
  const [mask] = await image.segment({ points: [[30, 20]] });
  parentPort.postMessage([mask.area, mask.score].join());
`;

const run = (body: string) => runModule(PROLOGUE + body);

describe('the process ends cleanly', () => {
  it.each([
    ['when it falls off its end with everything alive', '', 0],
    ['by process.exit() with an encode running', 'process.exit(7);', 7],
    ['by an uncaught exception with an encode running', 'throw new Error("on purpose");', 1],
    [
      'by an unhandled rejection with an encode running',
      'Promise.reject(new Error("on purpose")); await sleep(1000);',
      1,
    ],
    ['by process.exit() inside a callback of its own', 'setImmediate(() => process.exit(3));', 3],
  ])('%s', async (_, end, expected) => {
    const { code, signal, stderr } = await run(`
      const model = await load();
      const image = await model.encode(pixels);
      const forgotten = model.encode(pixels, LONG);
      for (let i = 0; i < 5; i++) image.segment({ points: [[i, i]] });
      await sleep(60);
      ${end}
    `);
    expect({ code, signal }).toEqual({ code: expected, signal: null });
    if (expected === 1) expect(stderr).toContain('on purpose');
    else expect(stderr).toBe('');
  });

  it('after a device that could not be opened', async () => {
    const { code, signal, stdout } = await run(`
      for (const device of ['cpu:1', 'cpu:1', 'cuda:99'])
        await HRSAM.load('random:hrsam-tiny', { device }).catch(({ code }) => console.log(code));
      const model = await load();
    `);
    expect({ code, signal, stdout }).toEqual({ code: 0, signal: null, stdout: 'ERR_DEVICE\n'.repeat(3) });
  });

  it('waits for work under way, and for nothing else', async () => {
    const { code, stdout } = await run(`
      const model = await load();
      model.encode(pixels).then(() => console.log('encoded'));
    `);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'encoded\n' });
  });

  it('on SIGTERM', async () => {
    const { signal } = await run(`
      const model = await load();
      model.encode(pixels, LONG);
      await sleep(50);
      process.kill(process.pid, 'SIGTERM');
      await sleep(10000);
    `);
    expect(signal).toBe('SIGTERM');
  });
});

describe('worker threads', () => {
  it('several at once get the same masks as the main thread', async () => {
    const { code, stdout, stderr } = await run(`${THREADS}
      const model = await load();
      const image = await model.encode(pixels);
      const [mask] = await image.segment({ points: [[30, 20]] });
      const expected = [mask.area, mask.score].join();
      const workers = Array.from({ length: 4 }, () => thread(${JSON.stringify(SEGMENT)}));
      const exits = workers.map(ended);
      const found = await Promise.all(workers.map(message));
      console.log(found.every((text) => text === expected), (await Promise.all(exits)).join());
    `);
    expect({ code, stderr, stdout }).toEqual({ code: 0, stderr: '', stdout: 'true 0,0,0,0\n' });
  });

  it('may be the only ones that load the addon, one after the other', async () => {
    const { code, stdout, stderr } = await run(`${THREADS}
      for (let i = 0; i < 3; i++) {
        const worker = thread(${JSON.stringify(SEGMENT)});
        const exit = ended(worker);
        await message(worker);
        console.log(await exit);
      }
    `);
    expect({ code, stderr, stdout }).toEqual({ code: 0, stderr: '', stdout: '0\n0\n0\n' });
  });

  it('can be terminated in the middle of an encode, others go on', async () => {
    const { code, stdout, stderr } = await run(`${THREADS}
      const model = await load();
      const body = "parentPort.postMessage('go'); for (;;) (await model.encode(pixels, { size: 2048 })).dispose();";
      for (let i = 0; i < 6; i++) {
        const workers = [thread(body), thread(body)];
        await Promise.all(workers.map(message));
        await sleep(10 + 25 * i);
        console.log((await Promise.all(workers.map((worker) => worker.terminate()))).join());
        using image = await model.encode(pixels);
        await image.segment({ points: [[3, 3]] });
      }
    `);
    expect({ code, stderr, stdout }).toEqual({ code: 0, stderr: '', stdout: '1,1\n'.repeat(6) });
  });

  it('may be at work when the process ends', async () => {
    for (const end of ['process.exit(5)', 'setTimeout(() => process.exit(5), 30)']) {
      const { code, signal, stderr } = await run(`${THREADS}
        const body = "parentPort.postMessage('go'); for (;;) await Promise.all([model.encode(pixels, { size: 1024 }), model.encode(pixels)]);";
        const workers = Array.from({ length: 3 }, () => thread(body));
        await Promise.all(workers.map(message));
        ${end};
      `);
      expect({ code, signal, stderr }).toEqual({ code: 5, signal: null, stderr: '' });
    }
  });

  it('end on an exception of their own without harm to others', async () => {
    const { code, stdout } = await run(`${THREADS}
      const worker = thread("model.encode(pixels, { size: 2048 }); setTimeout(() => { throw new Error('on purpose'); }, 30);");
      const [error] = await Promise.all([
        new Promise((resolve) => worker.on('error', resolve)),
        new Promise((resolve) => worker.on('exit', resolve)),
      ]);
      const model = await load();
      using image = await model.encode(pixels);
      console.log(error.message, image.embedding.shape.join());
    `);
    expect({ code, stdout }).toEqual({ code: 0, stdout: 'on purpose 1,16,16,64\n' });
  });
});
