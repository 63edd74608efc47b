import { totalFlops } from '../../graph/cost.js';
import { Graph } from '../../graph/graph.js';
import { Device } from '../../runtime/device.js';
import { elementCount } from '../../runtime/dtype.js';
import { Owned } from '../../runtime/owned.js';
import type { Tensors } from '../../runtime/program.js';
import { uniformGroups } from '../../train/groups.js';
import { initialValues } from '../../train/initial.js';
import { ParameterLayout } from '../../train/layout.js';
import { type ClickShape, clickLoss } from '../../train/losses.js';
import { ADAMW } from '../../train/optimizer.js';
import { FixedTensors, modelTensors } from '../../train/parameters.js';
import { initialState, Trainer } from '../../train/trainer.js';
import { configFromAuthors } from '../../weights/authors.js';
import type { ModelConfig } from '../../weights/config.js';
import { presetConfig } from '../../weights/presets.js';
import { fillTensor } from '../../weights/random.js';
import { type BenchRow, measure, peakMemory } from './measure.js';

export interface TrainPart {
  model: 'small' | 'hrsam-b';
  device: string;
  dtype: 'f32' | 'bf16';
  threads?: number;
}

const small = (): ModelConfig =>
  configFromAuthors({
    backbone: {
      window_size: 16,
      state_dim: 16,
      depth: 8,
      embed_dim: 192,
      num_heads: 3,
      final_embed_dim: 128,
      out_indices: [1, 3, 5, 7],
    },
    neck: { embed_dim: 128 },
    decode_head: {
      in_dim: 128,
      attn_cfg: { depth: 2, mlp_dim: 512, num_heads: 4 },
      iou_head_hidden_dim: 128,
    },
  });

const STEP = { tokens: 8, objects: 1, steps: 3, focal: { alpha: 0.5, gamma: 2 } };

const MODELS: Record<TrainPart['model'], () => { config: ModelConfig; shape: ClickShape }> = {
  small: () => ({ config: small(), shape: { ...STEP, batch: 8, height: 256, width: 256 } }),
  'hrsam-b': () => ({
    config: presetConfig('hrsam-b'),
    shape: { ...STEP, batch: 1, height: 512, width: 512 },
  }),
};

/** One training step: forward and backward of three prompts a sample, and the update. */
export async function trainRows(part: TrainPart): Promise<BenchRow[]> {
  const { dtype, threads } = part;
  const device = Device.open(part.device);
  if (threads !== undefined) await device.setThreads(threads);
  const { config, shape } = MODELS[part.model]();
  const loss = clickLoss(config, shape, dtype);
  using owned = new Owned();
  const { trained, fixed } = modelTensors(config);
  const layout = new ParameterLayout(trained);
  const values = initialValues(1);
  const shapes = new Map(trained.map(({ name, shape: sides }) => [name, sides]));
  const options = {
    groups: uniformGroups(trained, 0),
    schedule: { peak: 1e-5, warmup: 0, steps: 1000 },
    adamw: { ...ADAMW, clip: 1 },
  };
  const state = initialState(layout, (name) => values(name, shapes.get(name)!));
  const trainer = owned.add(await Trainer.create(device, layout, options, state));
  const constants = owned.add(new FixedTensors(device, fixed, values));
  const program = owned.add(await trainer.replicas[0].program(loss, constants));
  const forward = new Graph();
  const built = loss(forward);
  const inputs = examples(device, forward, owned);
  const size = elementCount(built.loss.shape);
  const row = await measure({
    what: `${part.model} training step`,
    device,
    dtype,
    size: `${shape.height} x ${shape.width}`,
    batch: shape.batch,
    flops: 3 * totalFlops(forward),
    async run() {
      await trainer.step([[{ program, inputs, size }]]);
    },
  });
  const note = `${(row.median / shape.batch).toFixed(1)} ms a sample of ${STEP.steps} prompts`;
  return [{ ...row, memory: peakMemory(device), note }];
}

/** Values for the graph's inputs: what they are does not change how long a step takes. */
function examples(device: Device, graph: Graph, owned: Owned): Tensors {
  return Object.fromEntries(
    [...graph.inputs].map(([name, { shape, dtype }]) => {
      const size = elementCount(shape);
      const data =
        dtype === 'i32'
          ? new Int32Array(size).fill(STEP.tokens)
          : fillTensor(name, { offset: 0.5, scale: 0.5 }, new Float32Array(size));
      return [name, owned.add(device.tensor(shape, dtype, data))];
    }),
  );
}
