import { cpSync, readFileSync, rmSync } from 'node:fs';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { allOf } from '../../lib/all_of.js';
import { EmbeddingStore } from '../../lib/predictor/embedding_store.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import { openModel } from '../../lib/predictor/load.js';
import { Device } from '../../lib/runtime/device.js';
import { elementCount } from '../../lib/runtime/dtype.js';
import { Owned } from '../../lib/runtime/owned.js';
import type { Program } from '../../lib/runtime/program.js';
import { uniformGroups } from '../../lib/train/groups.js';
import { ParameterLayout } from '../../lib/train/layout.js';
import { distillationLoss } from '../../lib/train/losses.js';
import { modelTensors } from '../../lib/train/parameters.js';
import { readRecipe } from '../../lib/train/recipe.js';
import type { MicroBatch, Replica } from '../../lib/train/replica.js';
import { initialState, type Round, Trainer } from '../../lib/train/trainer.js';
import { beginTraining, resumeTraining, type TrainingOptions } from '../../lib/train/training.js';
import { configFromAuthors } from '../../lib/weights/authors.js';
import { fillTensor, initialTensor } from '../../lib/weights/random.js';
import { codeOf, errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { asTheyAre, tinyFinetuning, tinyModel } from '../support/recipes.js';
import { discSet } from '../support/sets.js';

const at = scratch('hrsam-parallel-');

/** Another Device object of the same processor: a program refuses tensors of the one by the other, as between two GPUs. */
async function anotherDevice(): Promise<Device> {
  vi.resetModules();
  const { Device: Other } = await import('../../lib/runtime/device.js');
  return Other.open(NAME) as unknown as Device;
}

/** The device under test: HRSAM_TEST_DEVICE, else the CPU. */
const NAME = process.env.HRSAM_TEST_DEVICE ?? 'cpu';
const first = Device.open(NAME);
let second: Device;
let third: Device;
beforeAll(async () => {
  second = await anotherDevice();
  third = await anotherDevice();
});

describe('a trainer on several devices', () => {
  const config = configFromAuthors(tinyModel);
  const layout = new ParameterLayout(modelTensors(config, ['encoder']).trained);
  const state = initialState(layout, (name, shape) => initialTensor(name, shape, 4));
  const options = {
    groups: uniformGroups(layout.parameters, 0.05),
    schedule: { peak: 1e-3, warmup: 0, steps: 9 },
    adamw: { betas: [0.9, 0.999] as [number, number], eps: 1e-8, clip: 1 },
    emaDecay: 0.9,
  };

  const loss = distillationLoss(config, { batch: 1, height: 64, width: 64 }, 'f32');

  /** Micro-batch `i` on a replica's device. */
  function microBatch({ device }: Replica, i: number, program: Program, owned: Owned): MicroBatch {
    const uniform = (what: string, shape: number[]) => {
      const values = new Float32Array(elementCount(shape));
      const data = fillTensor(`${what}${i}`, { offset: 0, scale: 1 }, values);
      return owned.add(device.tensor(shape, 'f32', data));
    };
    const inputs = { image: uniform('image', [1, 3, 64, 64]), target: uniform('target', [1, 4, 4, 32]) };
    return { program, inputs, size: 1 };
  }

  /** Three steps of three micro-batches each. */
  async function steps(devices: [Device, ...Device[]]) {
    using owned = new Owned();
    const trainer = owned.add(await Trainer.create(devices, layout, options, state));
    const programs: Program[] = [];
    for (const replica of trainer.replicas) programs.push(owned.add(await replica.program(loss)));
    const losses: number[] = [];
    for (let step = 0; step < 3; step++) {
      const rounds: Round[] = [];
      for (let i = 0; i < 3; i += devices.length) {
        const taking = trainer.replicas.slice(0, 3 - i);
        const round = taking.map((replica, k) => microBatch(replica, 3 * step + i + k, programs[k]!, owned));
        rounds.push(round as [MicroBatch, ...MicroBatch[]]);
      }
      losses.push(await trainer.step(rounds));
    }
    const states = await Promise.all(trainer.replicas.map((replica) => replica.state.data()));
    return { losses, states: states.map((values) => Float32Array.from(values as Float32Array)) };
  }

  it('gets the bits that one device gets; all devices hold the same parameters', async () => {
    expect(new Set([first, second, third]).size).toBe(3);
    const alone = await steps([first]);
    expect(alone.states[0]).not.toEqual(state);
    for (const devices of [
      [first, second],
      [first, second, third],
    ] as [Device, ...Device[]][]) {
      const { losses, states } = await steps(devices);
      expect(losses).toEqual(alone.losses);
      expect(states[0]).toEqual(alone.states[0]);
      const parameters = states[0]!.subarray(0, layout.size);
      for (const other of states) expect(other.subarray(0, layout.size)).toEqual(parameters);
      expect(states).toHaveLength(devices.length);
    }
  });
});

describe('a training on several devices', () => {
  const recipe = (change: object = {}) =>
    readRecipe({ ...tinyFinetuning, accumulate: 3, scenes: { share: 0 }, dropPath: 0.3, ...change });
  const options = (name: string, change: Partial<TrainingOptions> = {}): TrainingOptions => ({
    task: 'finetune',
    data: [at('discs')],
    out: at(name),
    every: 1e9,
    ...change,
  });
  const same = (one: string, other: string) =>
    ['checkpoint.safetensors', 'model.safetensors'].every((file) =>
      readFileSync(at(one, file)).equals(readFileSync(at(other, file))),
    );

  beforeAll(async () => {
    await discSet(
      at('discs'),
      [220, 60, 40],
      [40, 90, 200],
      [
        [64, 64],
        [80, 60],
        [60, 80],
      ],
    );
    await beginTraining(first, recipe(), options('alone'));
  });

  it('is to the byte that on one, with a last round of fewer micro-batches too', async () => {
    await beginTraining([first, second], recipe(), options('two'));
    await beginTraining([first, second, third], recipe(), options('three'));
    expect([same('two', 'alone'), same('three', 'alone')]).toEqual([true, true]);
    await beginTraining(first, recipe({ seed: 9 }), options('other'));
    expect(same('other', 'alone')).toBe(false);
  });

  it('goes on on more or fewer devices', async () => {
    const stopped = (step: number): Partial<TrainingOptions> => {
      const controller = new AbortController();
      return {
        signal: controller.signal,
        onStep: (report) => report.step === step && controller.abort(),
      };
    };
    await beginTraining([first, second], recipe(), options('moved', stopped(2)));
    await resumeTraining([first, second, third], options('moved', stopped(4)));
    await resumeTraining(first, options('moved'));
    expect(same('moved', 'alone')).toBe(true);
  });

  it('distils as on one', async () => {
    await using checkpoint = await openModel(at('alone', 'model.safetensors'));
    const store = await EmbeddingStore.create(at('taught'), checkpoint, 64);
    using model = await HRSAM.load(at('alone', 'model.safetensors'), { device: first });
    for (const i of [0, 1, 2]) {
      using image = await model.encode(at('discs', 'images', `${i}.png`));
      await store.add(`images/${i}.png`, image);
    }
    const { clicks: _, ...common } = tinyFinetuning;
    const distil = readRecipe({ ...common, task: 'distill', accumulate: 2 });
    const given = { task: 'distill', teacher: [at('taught')] } as const;
    await beginTraining(first, distil, options('student', given));
    await beginTraining([first, second], distil, options('students', given));
    expect(same('students', 'student')).toBe(true);
  });

  it('names what cannot be read once', async () => {
    cpSync(at('discs'), at('damaged'), { recursive: true });
    rmSync(at('damaged', 'images', '1.png'));
    const notes: string[] = [];
    const given = options('noted', { data: [at('damaged')], onNote: (note) => notes.push(note) });
    await beginTraining([first, second], recipe({ augment: asTheyAre }), given);
    expect(notes).toHaveLength(1);
  });

  it('wants a micro-batch for each device', async () => {
    const error = await errorOf(() =>
      beginTraining([first, second], recipe({ accumulate: 1 }), options('idle')),
    );
    expect([error.code, error.message]).toEqual(['ERR_ARGUMENT', expect.stringContaining('accumulate')]);
    const four = [first, second, third, await anotherDevice()] as const;
    expect(await codeOf(() => resumeTraining(four, options('alone')))).toBe('ERR_ARGUMENT');
  });
});

describe('allOf', () => {
  it('waits for all; of a failure the other results are released', async () => {
    expect(await allOf([Promise.resolve(1), Promise.resolve(2)])).toEqual([1, 2]);
    const released: number[] = [];
    let slow = false;
    const late = new Promise<number>((resolve) => {
      setTimeout(() => {
        slow = true;
        resolve(3);
      }, 20);
    });
    const failing = allOf([Promise.reject(new Error('one')), late, Promise.reject(new Error('two'))], (n) =>
      released.push(n),
    );
    await expect(failing).rejects.toThrow('one');
    expect([slow, released]).toEqual([true, [3]]);
  });
});
