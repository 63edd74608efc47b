import { afterAll, describe, expect, it } from 'vitest';
import { Device } from '../../lib/runtime/device.js';
import { Owned } from '../../lib/runtime/owned.js';
import { uniformGroups } from '../../lib/train/groups.js';
import { ParameterLayout } from '../../lib/train/layout.js';
import { distillationLoss } from '../../lib/train/losses.js';
import { ADAMW } from '../../lib/train/optimizer.js';
import { modelTensors } from '../../lib/train/parameters.js';
import { initialState, Trainer } from '../../lib/train/trainer.js';
import { configFromAuthors } from '../../lib/weights/authors.js';
import type { ModelPart } from '../../lib/weights/expected.js';
import { initialTensor } from '../../lib/weights/random.js';
import { segmentationLoss } from '../support/training.js';

const device = Device.open('cpu');
const owned = new Owned();
afterAll(() => owned[Symbol.dispose]());

const config = configFromAuthors({
  backbone: {
    window_size: 4,
    state_dim: 8,
    depth: 4,
    embed_dim: 48,
    num_heads: 3,
    final_embed_dim: 64,
    out_indices: [1, 3],
  },
  neck: { embed_dim: 64, image_embed_size: [8, 8], input_image_size: [128, 128] },
  decode_head: { in_dim: 64, attn_cfg: { depth: 2, mlp_dim: 128, num_heads: 4 }, iou_head_hidden_dim: 64 },
});

const gaussian = 'neck.pos_embed_layer.positional_encoding_gaussian_matrix';

async function trainer(parts: readonly ModelPart[], seed: number, peak: number, steps: number) {
  const layout = new ParameterLayout(modelTensors(config, parts).trained);
  const state = initialState(layout, (name, shape) => initialTensor(name, shape, seed));
  const options = {
    groups: uniformGroups(layout.parameters, 0),
    schedule: { peak, warmup: 10, steps },
    adamw: { ...ADAMW, clip: 1 },
  };
  return owned.add(await Trainer.create(device, layout, options, state));
}

/** A disc and a bar of different colours on a gradient: normalised pixels, and the disc as label. */
function picture(index: number, size: number) {
  const image = new Float32Array(3 * size * size);
  const label = new Float32Array(size * size);
  const [cx, cy, r] = [0.3 + 0.12 * index, 0.65 - 0.1 * index, 0.16 + 0.03 * index].map((v) => v * size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const at = y * size + x;
      const disc = Math.hypot(x + 0.5 - cx!, y + 0.5 - cy!) < r!;
      const bar = Math.abs(y - (0.2 + 0.15 * index) * size) < 0.06 * size;
      label[at] = disc ? 1 : 0;
      for (let c = 0; c < 3; c++) {
        const paint = disc ? Math.cos(index + 2 * c) : bar ? -1 : 0;
        image[c * size * size + at] = 1.5 * paint + x / size - 0.5 + 0.1 * Math.sin(x * (c + 1) + y);
      }
    }
  }
  return { image, label, centre: [cx!, cy!] as const };
}

const joined = (parts: readonly Float32Array[]) => Float32Array.from(parts.flatMap((part) => [...part]));

function iou(logits: Float32Array, label: Float32Array, size: number): number {
  const low = size / 4;
  let both = 0;
  let either = 0;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      // Bilinear with half-pixel centres, as the loss sees it.
      const at = (v: number) => Math.min(Math.max((v + 0.5) / 4 - 0.5, 0), low - 1);
      const [fy, fx] = [at(y), at(x)];
      const [y0, x0] = [Math.floor(fy), Math.floor(fx)];
      const [y1, x1] = [Math.min(y0 + 1, low - 1), Math.min(x0 + 1, low - 1)];
      const value = (row: number) =>
        logits[row * low + x0]! * (1 - (fx - x0)) + logits[row * low + x1]! * (fx - x0);
      const set = value(y0) * (1 - (fy - y0)) + value(y1) * (fy - y0) > 0;
      const truth = label[y * size + x]! > 0;
      if (set && truth) both++;
      if (set || truth) either++;
    }
  }
  return both / either;
}

describe('Trainer', () => {
  it('learns four pictures by heart', { timeout: 180_000 }, async () => {
    const size = 128;
    const pictures = [0, 1, 2, 3].map((i) => picture(i, size));
    const model = await trainer(['encoder', 'prompt', 'decoder'], 1, 2e-3, 400);
    const loss = segmentationLoss(config, { batch: 4, height: size, width: size, tokens: 2, refine: false });
    const matrix = owned.add(device.tensor([2, 32], 'f32', initialTensor(gaussian, [2, 32])));
    const frozen = {
      find: (name: string) =>
        name === gaussian
          ? { buffer: matrix.buffer, offset: 0, shape: matrix.shape, dtype: 'f32' as const }
          : undefined,
    };
    const program = owned.add(await model.replicas[0].program(loss, frozen));
    const inputs = {
      image: device.tensor([4, 3, size, size], 'f32', joined(pictures.map((p) => p.image))),
      points: device.tensor(
        [4, 2, 2],
        'f32',
        Float32Array.from(pictures.flatMap((p) => [...p.centre, 0, 0])),
      ),
      point_labels: device.tensor([4, 2], 'f32', Float32Array.from(pictures.flatMap(() => [1, -1]))),
      lengths: device.tensor([4], 'i32', new Int32Array(4).fill(7)),
      labels: device.tensor([4, 1, size, size], 'f32', joined(pictures.map((p) => p.label))),
    };
    for (const tensor of Object.values(inputs)) owned.add(tensor);
    let ious: number[] = [];
    for (let step = 0; step < 400; step++) {
      await model.step([[{ program, inputs, size: 4 }]], async ({ logits }) => {
        const data = (await logits!.data()) as Float32Array;
        if (step % 20 === 19) {
          ious = pictures.map(({ label }, i) => iou(data.subarray((i * size * size) / 16), label, size));
        }
      });
      if (ious.length > 0 && Math.min(...ious) >= 0.95) break;
    }
    expect(Math.min(...ious)).toBeGreaterThanOrEqual(0.95);
  });

  it('brings a student ten times closer to its teacher', { timeout: 180_000 }, async () => {
    const size = 64;
    const teacher = await trainer(['encoder'], 5, 0, 1);
    const student = await trainer(['encoder'], 6, 2e-3, 400);
    const shape = { batch: 2, height: size, width: size };
    const image = owned.add(
      device.tensor([2, 3, size, size], 'f32', joined([0, 1].map((i) => picture(i, size).image))),
    );
    const zeros = owned.add(device.tensor([2, 4, 4, 64], 'f32', new Float32Array(2 * 16 * 64)));
    const program = owned.add(
      await student.replicas[0].program((graph) => {
        const { loss } = distillationLoss(config, shape, 'f32')(graph);
        return { loss };
      }),
    );
    const weights = owned.add(device.tensor([2], 'f32', new Float32Array(2)));
    const accumulated = owned.add(
      device.tensor([student.layout.size], 'f32', new Float32Array(student.layout.size)),
    );
    // The teacher's embedding: what its own program compares with nothing.
    const embedding = owned.add(
      await teacher.replicas[0].program((graph) => {
        const { loss } = distillationLoss(config, shape, 'f32')(graph);
        return { loss, outputs: { embedding: graph.marks.get('embedding')! } };
      }),
    );
    const { embedding: target } = await embedding.run({
      image,
      target: zeros,
      state: teacher.state,
      accumulated,
      weights,
    });
    owned.add(target!);
    const losses: number[] = [];
    for (let step = 0; step < 400; step++) {
      losses.push(await student.step([[{ program, inputs: { image, target: target! }, size: 2 }]]));
      if (losses.at(-1)! < losses[0]! / 10) break;
    }
    expect(losses.at(-1)).toBeLessThan(losses[0]! / 10);
  });

  it('goes on after a pause as if there had been none', async () => {
    const size = 64;
    const loss = distillationLoss(config, { batch: 1, height: size, width: size }, 'f32');
    const inputs = {
      image: owned.add(device.tensor([1, 3, size, size], 'f32', picture(0, size).image)),
      target: owned.add(device.tensor([1, 4, 4, 64], 'f32', new Float32Array(16 * 64).fill(0.5))),
    };
    const first = await trainer(['encoder'], 7, 1e-3, 20);
    const program = owned.add(await first.replicas[0].program(loss));
    const states: Float32Array[] = [];
    for (let step = 0; step < 4; step++) {
      await first.step([[{ program, inputs, size: 1 }]]);
      states.push(Float32Array.from((await first.state.data()) as Float32Array));
    }
    const resumed = owned.add(await Trainer.create(device, first.layout, first.options, states[1]!, 2));
    for (let step = 2; step < 4; step++) await resumed.step([[{ program, inputs, size: 1 }]]);
    expect(await resumed.state.data()).toEqual(states[3]);
    expect(states[3]).not.toEqual(states[1]);
  });

  it('leaves the parameters alone when the loss is not finite', async () => {
    const size = 64;
    const model = await trainer(['encoder'], 8, 1e-3, 20);
    const loss = distillationLoss(config, { batch: 1, height: size, width: size }, 'f32');
    const program = owned.add(await model.replicas[0].program(loss));
    const before = Float32Array.from((await model.state.data()) as Float32Array);
    const inputs = {
      image: owned.add(device.tensor([1, 3, size, size], 'f32', picture(0, size).image)),
      target: owned.add(device.tensor([1, 4, 4, 64], 'f32', new Float32Array(16 * 64).fill(Number.NaN))),
    };
    await expect(model.step([[{ program, inputs, size: 1 }]])).rejects.toMatchObject({
      code: 'ERR_DIVERGED',
      message: 'step 0: the loss is NaN; expected other weights or data to begin with',
    });
    expect(model.taken).toBe(0);
    expect(await model.state.data()).toEqual(before);
  });
});
