import { randomUUID } from 'node:crypto';
import {
  appendFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, it, vi } from 'vitest';
import { overlap } from '../../lib/image/overlap.js';
import { encodeRle } from '../../lib/image/rle.js';
import { HRSAM } from '../../lib/predictor/hrsam.js';
import type { Mask } from '../../lib/predictor/mask.js';
import { Rng } from '../../lib/rng.js';
import { readCheckpoint, writeCheckpoint } from '../../lib/train/checkpoint.js';
import { ClickPlayer } from '../../lib/train/click_player.js';
import { readRecipe } from '../../lib/train/recipe.js';
import type { LogLine } from '../../lib/train/run_folder.js';
import { beginTraining, resumeTraining, type TrainingOptions } from '../../lib/train/training.js';
import { SafetensorsFile } from '../../lib/weights/safetensors.js';
import { codeOf, errorOf } from '../support/errors.js';
import { scratch } from '../support/files.js';
import { heldBytes } from '../support/memory.js';
import { asTheyAre, tinyFinetuning, tinyModel } from '../support/recipes.js';
import { device } from '../support/run.js';
import { discSet } from '../support/sets.js';

const at = scratch('hrsam-training-');

const SIZES = [
  [64, 64],
  [80, 60],
  [60, 80],
  [90, 90],
] as const;

const recipe = (change: object = {}) => readRecipe({ ...tinyFinetuning, scenes: { share: 0 }, ...change });

const options = (name: string, change: Partial<TrainingOptions> = {}): TrainingOptions => ({
  task: 'finetune',
  data: [at('discs')],
  out: at(name),
  every: 1e9,
  ...change,
});

const readLog = (name: string): LogLine[] =>
  readFileSync(at(name, 'log.jsonl'), 'utf8')
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line));

const sameFile = (file: string, one: string, other: string) =>
  readFileSync(at(one, file)).equals(readFileSync(at(other, file)));

/** Stops a training as Ctrl-C does, after so many steps. */
const stopAfter = (steps: number): Pick<TrainingOptions, 'signal' | 'onStep'> => {
  const controller = new AbortController();
  return {
    signal: controller.signal,
    onStep: ({ step }) => {
      if (step === steps) controller.abort();
    },
  };
};

beforeAll(async () => {
  await discSet(at('discs'), [220, 60, 40], [40, 90, 200], SIZES);
  await beginTraining(device, recipe(), options('whole'));
  await beginTraining(device, recipe(), options('stopped', stopAfter(4)));
});

describe('beginTraining', () => {
  it('learns four pictures; the model it writes finds their objects', async () => {
    const short = recipe({
      steps: 160,
      batch: 4,
      learningRate: 3e-3,
      warmup: 10,
      emaDecay: 0.9,
      clip: 1,
      augment: asTheyAre,
      clicks: { max: 1, steps: 1, box: 0 },
    });
    await beginTraining(device, short, options('learned'));
    const log = readLog('learned');
    expect(log.map(({ step }) => step)).toEqual([20, 40, 60, 80, 100, 120, 140, 160]);
    expect(log.at(-1)!.loss).toBeLessThan(log[0]!.loss / 3);
    expect(log.at(-1)!.iou1).toBeGreaterThan(0.85);
    using model = await HRSAM.load(at('learned', 'model.safetensors'), { device });
    expect(model.config).toEqual(short.model);
    await using file = await SafetensorsFile.open(at('learned', 'model.safetensors'));
    expect(await file.read('backbone.rope.freqs')).toEqual(Float32Array.of(1, 0.1, 0.01, 0.001));
    for (const [i, [width, height]] of SIZES.entries()) {
      using image = await model.encode(at('discs', 'images', `${i}.png`));
      const [cx, cy, r] = [width * (0.3 + 0.1 * i), height / 2, Math.min(width, height) * 0.3];
      const [mask] = await image.segment({ points: [[cx, cy]] });
      const inside = Uint8Array.from({ length: width * height }, (_, p) =>
        ((p % width) - cx) ** 2 + (Math.floor(p / width) - cy) ** 2 < r * r ? 1 : 0,
      );
      const { intersection, union } = overlap(mask!.rle, encodeRle(inside, height, width));
      expect(intersection / union).toBeGreaterThan(0.8);
    }
  });

  it('refines answers without a click where it is asked to', async () => {
    const next = vi.spyOn(ClickPlayer.prototype, 'next');
    const placed = async (refine: number) => {
      next.mockClear();
      const clicks = { ...tinyFinetuning.clicks, max: 3, steps: 3, refine };
      await beginTraining(device, recipe({ steps: 2, clicks }), options(`refine ${refine}`));
      return next.mock.calls.length;
    };
    // Two steps of two samples with two users each, who click twice after their first prompt.
    expect([await placed(0), await placed(1)]).toEqual([16, 0]);
    expect(await placed(0.5)).toBeGreaterThan(0);
    next.mockRestore();
    const { loss } = readLog('refine 1').at(-1)!;
    expect(Number.isFinite(loss)).toBe(true);
  });

  it('writes models that refine their answers as they were made for', async () => {
    const model = structuredClone(tinyModel) as typeof tinyModel & {
      decode_head: { num_refinements?: number };
    };
    model.decode_head.num_refinements = 1;
    await beginTraining(device, recipe({ model, steps: 1 }), options('refining'));
    using loaded = await HRSAM.load(at('refining', 'model.safetensors'), { device });
    expect(loaded.config.decoder.refinements).toBe(1);
    using image = await loaded.encode(at('discs', 'images', '0.png'));
    const logits = (mask?: Mask) => mask!.logits.data;
    const [asMade] = await image.segment({ points: [[20, 30]] });
    const [refined] = await image.segment({ points: [[20, 30]], refinements: 1 });
    const [plain] = await image.segment({ points: [[20, 30]], refinements: 0 });
    expect(logits(asMade)).toEqual(logits(refined));
    expect(logits(asMade)).not.toEqual(logits(plain));
    expect(logits(await image.session().click(20, 30))).toEqual(logits(refined));
  });

  it('leaves a folder with a training alone', async () => {
    cpSync(at('stopped'), at('taken'), { recursive: true });
    const error = await errorOf(() => beginTraining(device, recipe(), options('taken')));
    expect([error.code, error.message]).toEqual(['ERR_FILE', expect.stringContaining('--resume')]);
    expect(sameFile('checkpoint.safetensors', 'taken', 'stopped')).toBe(true);
  });

  it.each(['log.jsonl', 'model.safetensors', 'best.safetensors', 'validation.jsonl', 'curves.png'])(
    'leaves a folder with a %s alone',
    async (file) => {
      const folder = at(`with ${file}`);
      mkdirSync(folder);
      const model = readFileSync(at('whole', 'model.safetensors'));
      writeFileSync(join(folder, file), model);
      // With data that fail at the first step, what such a training wrote would be removed.
      const given = options(`with ${file}`, { data: [at('whole')], init: at('whole', 'model.safetensors') });
      const { code, message } = await errorOf(() => beginTraining(device, recipe(), given));
      expect([code, message]).toEqual(['ERR_FILE', expect.stringContaining(`another folder; got ${file}`)]);
      expect(readdirSync(folder)).toEqual([file]);
      expect(readFileSync(join(folder, file)).equals(readFileSync(at('whole', 'model.safetensors')))).toBe(
        true,
      );
    },
  );

  it('writes a checkpoint before the first step', async () => {
    await beginTraining(device, recipe(), options('early', { signal: AbortSignal.abort() }));
    expect((await readCheckpoint(at('early', 'checkpoint.safetensors'))).step).toBe(0);
    await resumeTraining(device, options('early'));
    expect(sameFile('checkpoint.safetensors', 'early', 'whole')).toBe(true);
  });

  it('says where all of it is warm-up', async () => {
    const notes: string[] = [];
    const given = options('warm', { signal: AbortSignal.abort(), onNote: (note) => notes.push(note) });
    await beginTraining(device, recipe({ steps: 12, warmup: 1500 }), given);
    expect(notes).toEqual([expect.stringMatching(/^the warm-up, 1500 steps, is as long as the training/)]);
  });

  it('begins with given weights, and says what they lack', async () => {
    const notes: string[] = [];
    const init = at('whole', 'model.safetensors');
    const grown = {
      ...tinyFinetuning.model,
      backbone: { ...tinyFinetuning.model.backbone, depth: 3, out_indices: [2] },
    };
    await beginTraining(
      device,
      recipe({ model: grown }),
      options('grown', { init, signal: AbortSignal.abort(), onNote: (note) => notes.push(note) }),
    );
    expect(notes).toEqual([
      `${init} is of a model with other settings: encoder.depth, encoder.stageEnds, encoder.attention`,
      expect.stringMatching(/^begins anew: backbone\.blocks\.2\.norm1\.weight, /),
    ]);
    await using before = await SafetensorsFile.open(init);
    await using after = await SafetensorsFile.open(at('grown', 'model.safetensors'));
    const name = 'backbone.blocks.1.attn.qkv.weight';
    expect(await after.read(name)).toEqual(await before.read(name));
  });

  it('says in which settings given weights are another model’s, where their file tells', async () => {
    const notes: string[] = [];
    const begun = async (name: string, init: string, model: object) => {
      const onNote = (note: string) => notes.push(note);
      const given = options(name, { init, signal: AbortSignal.abort(), onNote });
      await beginTraining(device, recipe({ model }), given);
      return notes.splice(0);
    };
    const init = at('whole', 'model.safetensors');
    const bgr = { ...tinyModel, image_normalisation: { channel_order: 'bgr' } };
    expect(await begun('same', init, tinyModel)).toEqual([]);
    expect(await begun('bgr', init, bgr)).toEqual([
      `${init} is of a model with other settings: image.channelOrder`,
    ]);
  });

  it('moves the matrices of linear layers by Muon where the recipe says so', async () => {
    const given = recipe({ optimizer: 'muon', dtype: 'bf16', steps: 2 });
    await beginTraining(device, given, options('muon'));
    const { step, loss } = readLog('muon').at(-1)!;
    expect(step).toBe(2);
    expect(loss).toBeLessThan(10);
  });

  it.each([8, 32])('trains models of patches of %s pixels', async (patch_size) => {
    const model = { ...tinyModel, backbone: { ...tinyModel.backbone, patch_size } };
    const given = recipe({
      model,
      steps: 1,
      multiScale: { 96: 0.5 },
      clicks: { max: 3, steps: 3, continueProbability: 1 },
    });
    await beginTraining(device, given, options(`patches ${patch_size}`));
    expect(readLog(`patches ${patch_size}`).at(-1)!.step).toBe(1);
    using trained = await HRSAM.load(at(`patches ${patch_size}`, 'model.safetensors'), { device });
    using image = await trained.encode(at('discs', 'images', '0.png'));
    expect(await image.segment({ points: [[20, 30]] })).toHaveLength(1);
  });

  it.each<[string, object, Partial<TrainingOptions>, string, string]>([
    ['data that are not there', {}, { data: [at('nowhere')] }, 'ERR_FILE', 'nowhere'],
    ['a folder without sets', {}, { data: [at('stopped')] }, 'ERR_FILE', 'no data set'],
    ['a set the recipe names in vain', { sets: { squares: 1 } }, {}, 'ERR_CONFIG', 'squares'],
    ['weights that are not there', {}, { init: at('none.pth') }, 'ERR_FILE', 'none.pth'],
    ['a folder below a file', {}, { out: at('discs', 'index.json', 'x') }, 'ERR_FILE', 'cannot be made'],
  ])('%s: an error, nothing held', async (_, change, given, code, text) => {
    const before = await heldBytes();
    const error = await errorOf(() => beginTraining(device, recipe(change), options('refused', given)));
    expect([error.code, error.message]).toEqual([code, expect.stringContaining(text)]);
    expect(await heldBytes()).toBe(before);
    expect(existsSync(at('refused', 'checkpoint.safetensors'))).toBe(false);
  });

  it('leaves out what cannot be read, each with one line', async () => {
    await discSet(at('damaged'), [220, 60, 40], [40, 90, 200], SIZES);
    const index = at('damaged', 'index.json');
    const png = readFileSync(at('damaged', 'images', '0.png'));
    writeFileSync(at('damaged', 'images', 'half.png'), png.subarray(0, png.length / 2));
    const mask = 'images/0_mask.png';
    const bad = [
      { image: 'images/half.png', mask },
      { image: 'images/none.png', mask },
      { image: 'images/3.png', mask },
      { image: '../discs/images/0.png', mask },
      { picture: 'images/0.png' },
      null,
    ];
    writeFileSync(index, JSON.stringify([...JSON.parse(readFileSync(index, 'utf8')), ...bad]));
    const notes: string[] = [];
    const given = options('careful', { data: [at('damaged')], onNote: (note) => notes.push(note) });
    await beginTraining(device, recipe({ steps: 12, batch: 4 }), given);
    expect(readLog('careful').at(-1)!.step).toBe(12);
    expect(notes).toHaveLength(bad.length);
    expect(new Set(notes).size).toBe(bad.length);
    for (const note of notes) expect(note).toMatch(/^left out: .*damaged/);
  });

  it('says what to do about a loss that is none any more: to go on would repeat it', async () => {
    const given = () =>
      beginTraining(device, recipe({ learningRate: 1e6, warmup: 3, steps: 20 }), options('apart'));
    const { code, message } = await errorOf(given);
    expect([code, message]).toEqual([
      'ERR_DIVERGED',
      expect.stringMatching(/^step [1-9].*lower learningRate .* another folder, .* as init/),
    ]);
    expect(await codeOf(() => resumeTraining(device, options('apart')))).toBe('ERR_DIVERGED');
    const init = at('apart', 'model.safetensors');
    await beginTraining(device, recipe({ steps: 1 }), options('together', { init }));
    expect(readLog('together').at(-1)!.step).toBe(1);
  });

  it('ends with an error when nothing can be read, and holds nothing', async () => {
    await discSet(at('hopeless'), [1, 2, 3], [3, 2, 1], [[64, 64]]);
    writeFileSync(at('hopeless', 'images', '0.png'), 'no picture');
    const before = await heldBytes();
    const given = options('stuck', { data: [at('hopeless')] });
    expect(await codeOf(() => beginTraining(device, recipe(), given))).toBe('ERR_FILE');
    expect(await heldBytes()).toBe(before);
    // What took no step is in nobody's way.
    await beginTraining(device, recipe({ steps: 1 }), options('stuck'));
    expect(readLog('stuck').at(-1)!.step).toBe(1);
  });
});

describe('resumeTraining', () => {
  it('goes on to the byte as if it had never stopped', async () => {
    cpSync(at('stopped'), at('resumed'), { recursive: true });
    expect(readLog('resumed').at(-1)!.step).toBe(4);
    await resumeTraining(device, options('resumed'));
    for (const file of ['checkpoint.safetensors', 'model.safetensors'])
      expect(sameFile(file, 'resumed', 'whole')).toBe(true);
    expect(readLog('resumed').map(({ step }) => step)).toEqual([4, 6]);
  });

  it('draws the same branches to leave out', async () => {
    const dropping = recipe({ dropPath: 0.5, steps: 4 });
    await beginTraining(device, dropping, options('dropping'));
    await beginTraining(device, dropping, options('dropped', stopAfter(2)));
    await resumeTraining(device, options('dropped'));
    expect(sameFile('checkpoint.safetensors', 'dropped', 'dropping')).toBe(true);
    await beginTraining(device, recipe({ steps: 4 }), options('whole-4'));
    expect(sameFile('model.safetensors', 'dropped', 'whole-4')).toBe(false);
    await beginTraining(device, recipe({ steps: 4, recompute: true }), options('again-4'));
    expect(sameFile('model.safetensors', 'again-4', 'whole-4')).toBe(true);
  });

  it('cuts the log to the checkpoint, and clears away what was half-written', async () => {
    cpSync(at('stopped'), at('cut'), { recursive: true });
    const line = { step: 5, loss: 1, rate: 1, speed: 1 };
    appendFileSync(at('cut', 'log.jsonl'), `${JSON.stringify(line)}\n{"step":6,"lo`);
    const partial = `.${randomUUID()}.part`;
    writeFileSync(at('cut', partial), 'half');
    const lately = `.${randomUUID()}.part`;
    writeFileSync(at('cut', lately), 'of another process');
    const before = new Date(Date.now() - 120_000);
    utimesSync(at('cut', partial), before, before);
    writeFileSync(at('cut', 'my.part'), 'mine');
    await resumeTraining(device, options('cut'));
    expect(readLog('cut').map(({ step }) => step)).toEqual([4, 6]);
    expect(existsSync(at('cut', partial))).toBe(false);
    expect(existsSync(at('cut', lately))).toBe(true);
    expect(existsSync(at('cut', 'my.part'))).toBe(true);
  });

  it('goes on with the same data wherever they lie, and with no other', async () => {
    const { data: sets } = options('');
    cpSync(at('stopped'), at('elsewhere'), { recursive: true });
    const refused: [readonly string[], string][] = [
      [[], 'expected [discs: 4 objects]; got scenes alone'],
      [[...sets, ...sets], 'got [discs: 4 objects, discs: 4 objects]'],
      [[at('few', 'discs')], 'got [discs: 1 objects]'],
    ];
    await discSet(at('few', 'discs'), [1, 2, 3], [3, 2, 1], [[64, 64]]);
    for (const [data, text] of refused) {
      const { code, message } = await errorOf(() => resumeTraining(device, options('elsewhere', { data })));
      expect([code, message]).toEqual(['ERR_CONFIG', expect.stringContaining(text)]);
      expect(sameFile('checkpoint.safetensors', 'elsewhere', 'stopped')).toBe(true);
    }
    cpSync(at('discs'), at('moved', 'discs'), { recursive: true });
    await resumeTraining(device, options('elsewhere', { data: [at('moved', 'discs')] }));
    expect(sameFile('checkpoint.safetensors', 'elsewhere', 'whole')).toBe(true);
  });

  it('goes on from a checkpoint that does not say what it learned from', async () => {
    cpSync(at('stopped'), at('older'), { recursive: true });
    const path = at('older', 'checkpoint.safetensors');
    await writeCheckpoint(path, { ...(await readCheckpoint(path)), sources: undefined });
    await resumeTraining(device, options('older'));
    expect(sameFile('checkpoint.safetensors', 'older', 'whole')).toBe(true);
  });

  it('does nothing more once all steps are taken', async () => {
    cpSync(at('whole'), at('done'), { recursive: true });
    const validate = vi.fn(async () => ({ iou: 0.5, miou: 0.5 }));
    for (const _ of [1, 2]) await resumeTraining(device, options('done', { validate }));
    expect(sameFile('checkpoint.safetensors', 'done', 'whole')).toBe(true);
    expect(sameFile('log.jsonl', 'done', 'whole')).toBe(true);
    expect(validate).toHaveBeenCalledTimes(1);
    expect(readFileSync(at('done', 'validation.jsonl'), 'utf8').trim().split('\n')).toHaveLength(1);
  });

  it('clears away a log that ends in its first line', async () => {
    await beginTraining(device, recipe(), options('torn', { signal: AbortSignal.abort() }));
    writeFileSync(at('torn', 'log.jsonl'), '{"step":1,"lo');
    await resumeTraining(device, options('torn'));
    expect(readLog('torn').map(({ step }) => step)).toEqual([6]);
  });

  it('refuses what is no checkpoint', async () => {
    expect(await codeOf(() => resumeTraining(device, options('nothing')))).toBe('ERR_FILE');
    cpSync(at('stopped'), at('model'), { recursive: true });
    cpSync(at('model', 'model.safetensors'), at('model', 'checkpoint.safetensors'));
    expect(await codeOf(() => resumeTraining(device, options('model')))).toBe('ERR_WEIGHTS');
    expect(await codeOf(() => resumeTraining(device, options('stopped', { task: 'distill' })))).toBe(
      'ERR_CONFIG',
    );
  });

  it('refuses a checkpoint that is cut short or has one bit changed', async () => {
    const whole = readFileSync(at('stopped', 'checkpoint.safetensors'));
    const path = at('damaged.safetensors');
    const refused = async (content: Uint8Array) => {
      writeFileSync(path, content);
      expect(await codeOf(() => readCheckpoint(path))).toMatch(/^ERR_(WEIGHTS|CONFIG|FILE)$/);
    };
    await refused(new Uint8Array(0));
    for (const share of [0.001, 0.3, 0.9]) await refused(whole.subarray(0, whole.length * share));
    await refused(whole.subarray(0, -1));
    const headerEnd = 8 + Number(whole.readBigUInt64LE());
    const draws = new Rng(1);
    const begin = whole.indexOf('"hrsam.training"');
    expect(begin).toBeGreaterThan(0);
    for (let i = 0; i < 60; i++) {
      const [from, to] = [
        [0, headerEnd],
        [begin, begin + 400],
        [headerEnd, whole.length],
      ][i % 3] as [number, number];
      const damaged = Buffer.from(whole);
      damaged[from + draws.below(to - from)]! ^= 1 << draws.below(8);
      await refused(damaged);
    }
  });
});
